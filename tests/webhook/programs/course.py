# A receiver as a course on the Internet of Things has it.
from flask import Flask, request

app = Flask(__name__)


@app.route("/webhook", methods=["POST"])
def webhook():
    print(request.get_json(), flush=True)
    return "Webhook received", 200
