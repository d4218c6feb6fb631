# The same as it is printed in notes, where the import of `request` is forgotten.
from flask import Flask

app = Flask(__name__)


@app.route("/webhook", methods=["POST"])
def webhook():
    print(request.get_json(), flush=True)
    return "Webhook received", 200
