"""What a WHIP or WHEP client does over HTTP."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request


def post(url, offer):
    """Posts an offer, again while the stream is not there yet; returns the answer and its URL."""
    for _attempt in range(20):
        request = urllib.request.Request(
            url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                where = urllib.parse.urljoin(url, answer.headers["Location"])
                return answer.read().decode(), where
        except urllib.error.HTTPError as error:
            if error.code not in (404, 409):
                raise SystemExit(f"{error.code}: {error.read().decode()[:200]}") from error
            time.sleep(0.25)
    raise SystemExit("the stream did not come")


def leave(url):
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=5).close()
    except OSError:
        pass


def say(**progress):
    print(json.dumps(progress), flush=True)
