# Checks each signature with the reference library of Standard Webhooks, and says what came of it.
import json
import os

from flask import Flask, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
key = Webhook(os.environ["SECRET"])


@app.route("/webhook", methods=["POST"])
def webhook():
    try:
        body = key.verify(request.get_data(), dict((k.lower(), v) for k, v in request.headers.items()))
        said = {"verified": True, "topic": body["topic"]}
    except WebhookVerificationError as error:
        said = {"verified": False, "why": str(error)}
    print(json.dumps(said), flush=True)
    return "", 204
