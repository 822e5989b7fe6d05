"""The server under test, with its API."""

import asyncio
import json
import urllib.error
import urllib.request


class Server:
    """One process on ports of its own, announced under the relay's address."""

    def __init__(self, binary, http, udp, outside, log):
        self.http, self.udp, self.outside = http, udp, outside
        self.binary, self.log = binary, log
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http}"

    async def start(self):
        outside = f"{self.outside[0]}:{self.outside[1]}"
        arguments = ["--http", f"127.0.0.1:{self.http}", "--udp-port", str(self.udp), "--no-tcp"]
        arguments += ["--bind", "127.0.0.1", "--announce", outside, "--shards", "1"]
        with open(self.log, "w") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.binary, *arguments, stdout=log, stderr=log
            )
        for _ in range(100):
            if await self.get("/readyz") is not None:
                return
            if self.process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the server did not start; its log is {self.log}")

    async def get(self, path):
        """The answer's JSON, an empty dictionary where it is none, or None."""

        def ask():
            try:
                with urllib.request.urlopen(self.url + path, timeout=2) as answer:
                    body = answer.read()
            except (urllib.error.URLError, OSError):
                return None
            try:
                return json.loads(body)
            except ValueError:
                return {}

        return await asyncio.to_thread(ask)

    async def session(self, stream, role):
        """The card of the newest session of a stream in a role, or None."""
        found = await self.get("/api/v1/sessions") or {"sessions": []}
        fit = [s for s in found["sessions"] if s["stream"] == stream and s["role"] == role]
        if not fit:
            return None
        newest = max(fit, key=lambda session: session["created_at"])
        return await self.get("/api/v1/sessions/" + newest["id"])

    async def stop(self):
        if self.process and self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except asyncio.TimeoutError:
                self.process.kill()
