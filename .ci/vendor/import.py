"""`ota cloud import --from`: import.py OTA FOLDER.

First from one cloud of ours into another. Then from a server that answers as the vendor's API does,
with secrets, pages, names that are none, moments at which it is busy or gone: what was cut off is
begun again, and nothing is lost or there twice.
"""

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

OTA, WORK = sys.argv[1], sys.argv[2]
STARTED = []


class Cloud:
    def __init__(self, name):
        log = os.path.join(WORK, name + ".json")
        with open(log, "w") as out:
            STARTED.append(subprocess.Popen(
                [OTA, "cloud", "serve", "--json", "--data", name, "--mqtt", "127.0.0.1:0", "--http",
                 "127.0.0.1:0", "--api", "127.0.0.1:0"], stdout=out, stderr=out, cwd=WORK))
        self.url = "http://" + until(log, lambda: listening(log))["api"]
        self.key_file = os.path.join(WORK, name, "first-start")
        with open(self.key_file) as file:
            self.key = file.read().strip()

    def call(self, method, path, body=None, kind="application/json"):
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + "/api/v1" + path, data=body, method=method,
            headers={"Authorization": "Bearer " + self.key, "Content-Type": kind})
        with urllib.request.urlopen(request) as answer:
            data = answer.read()
        return json.loads(data) if data else None

    def devices(self, product):
        found, after = [], ""
        while True:
            page = self.call("GET", f"/products/{product}/devices?limit=100{after}")
            found += page["devices"]
            if page["next"] is None:
                return {device["name"]: device for device in found}
            after = "&after=" + page["next"]

    def take(self, source, code, *more, env=()):
        """`ota cloud import` into this cloud."""
        command = [OTA, "cloud", "import", "--from", source, "--json", "--url", self.url,
                   "--key-file", self.key_file, *more]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=WORK,
                               env={**os.environ, **dict(env)})
        assert ended.returncode == code, ended
        assert "\x1b" not in ended.stdout + ended.stderr, ended
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        return lines, ended


def listening(log):
    with open(log) as lines:
        for line in lines:
            if line.endswith("\n") and '"listening"' in line:
                return json.loads(line)
    return None


def until(what, holds):
    for _ in range(1_200):
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}")


def ours():
    """Both are clouds of ours: secrets stay where they are, so new ones are made."""
    old, new = Cloud("old"), Cloud("new")
    old.call("POST", "/products", {"id": "AAAAAAAAA1", "name": "lamp"})
    old.call("POST", "/products", {"id": "AAAAAAAAA2"})
    old.call("PATCH", "/products/AAAAAAAAA1/registration", {"mode": "any", "limit": 7})
    names = [f"d{number:03},,line={number % 3}" for number in range(250)] + ["off,,,true"]
    old.call("POST", "/products/AAAAAAAAA1/devices", "\n".join(names).encode(), "text/csv")
    image = os.urandom(100_000)
    path = "/products/AAAAAAAAA1/firmware/1.0.0?name=the%20first"
    old.call("POST", path, image, "application/octet-stream")
    source = ["--from-key-file", old.key_file]
    for service in ["explorer", "hub"]:
        refused, ended = new.take(old.url, 2, *source, "--from-service", service)
        assert "--secrets-to" in ended.stderr and not refused, ended
    assert new.call("GET", "/products")["products"] == []
    lines, _ = new.take(old.url, 0, *source, "--secrets-to", "made.csv")
    counts = lines[-1]["counts"]
    assert (counts["made"], counts["firmware"], counts["left_out"]) == (251, 1, 0), counts
    with open(os.path.join(WORK, "made.csv")) as file:
        assert len(file.read().splitlines()) == 252
    assert new.call("GET", "/products/AAAAAAAAA1")["name"] == "lamp"
    assert [one["id"] for one in new.call("GET", "/products")["products"]] == [
        "AAAAAAAAA1", "AAAAAAAAA2"]
    both = [cloud.call("GET", "/products/AAAAAAAAA1/registration") for cloud in (old, new)]
    assert both[0] == both[1] and both[0]["secret"], both
    there = new.devices("AAAAAAAAA1")
    assert there["d007"]["tags"] == {"line": "1"} and there["off"]["disabled"], there["off"]
    kept = new.call("GET", "/products/AAAAAAAAA1/firmware/1.0.0")
    assert (kept["md5"], kept["name"]) == (hashlib.md5(image).hexdigest(), "the first"), kept
    lines, _ = new.take(old.url, 0, *source, "--from-service", "hub", "--secrets-to", "again.csv")
    counts = lines[-1]["counts"]
    assert (counts["made"], counts["firmware_there"], counts["firmware"]) == (0, 1, 0), counts
    assert not os.path.exists(os.path.join(WORK, "again.csv")) or counts["made_before"] == 251
    wrong = os.path.join(WORK, "wrong")
    with open(wrong, "w") as file:
        file.write("0000000000000000\n" + "0" * 64 + "\n")
    _, ended = new.take(old.url, 7, "--from-key-file", wrong)
    assert "AuthFailure.SecretIdNotFound" in ended.stderr, ended
    return new


SECRET = base64.b64encode(b"0123456789abcdef").decode()
HOSTILE = "x\x1b[31m/..\u202e\n"


class Vendor(http.server.BaseHTTPRequestHandler):
    """A cloud of IoT Hub with 230 devices, which is busy, at fault, or goes away."""

    calls, busy, gone, wrong_at, image = [], 1, 0, None, os.urandom(50_000)

    def log_message(self, *_):
        pass

    def send(self, body, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send(self.image, "application/octet-stream")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        action = self.headers["X-TC-Action"]
        cls = type(self)
        cls.calls.append((time.monotonic(), action))
        if cls.gone and len(cls.calls) > 4:
            cls.gone -= 1
            return
        if cls.wrong_at is not None and len(cls.calls) > cls.wrong_at:
            return self.send(b"<html>", "text/html")
        if cls.busy:
            cls.busy -= 1
            answer = {"Error": {"Code": "RequestLimitExceeded", "Message": HOSTILE}}
        else:
            answer = getattr(self, action, self.none)(body)
        answer["RequestId"] = "r"
        self.send(json.dumps({"Response": answer}).encode())

    def none(self, _):
        return {"Error": {"Code": "InvalidAction", "Message": HOSTILE}}

    def DescribeProducts(self, _):
        products = [{"ProductId": "VVVVVVVVV1", "ProductName": "bulb"},
                    {"ProductId": HOSTILE, "ProductName": "x"}]
        return {"TotalCount": 2, "Products": products}

    def DescribeProduct(self, body):
        return {"ProductProperties": {"RegisterType": 2, "RegisterLimit": 50,
                                      "ProductSecret": "ABCDEFGHIJKLMNOPQRSTUVWX"}}

    def DescribeDevices(self, body):
        names = [f"v{number:03}" for number in range(229)] + [HOSTILE]
        page = names[body["Offset"]:body["Offset"] + body["Limit"]]
        devices = [{"DeviceName": name, "DevicePsk": SECRET, "EnableState": 1,
                    "Tags": [{"Tag": "t", "Value": "ü;=,"}]} for name in page]
        # What was on the page before comes again, as when somebody removes devices meanwhile.
        return {"TotalCount": len(names), "Devices": devices}

    def ListFirmwares(self, _):
        good = {"Version": "1.0.0", "Md5sum": hashlib.md5(self.image).hexdigest(), "FwType": "mcu"}
        other = {"Version": "2.0.0", "Md5sum": "0" * 32, "FwType": "mcu"}
        return {"TotalCount": 3, "Firmwares": [good, other, {"Version": HOSTILE}]}

    def GetFirmwareURL(self, _):
        return {"Url": f"http://127.0.0.1:{self.server.server_port}/image"}


def vendors(cloud):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    env = {"TENCENTCLOUD_SECRET_ID": "AKID0", "TENCENTCLOUD_SECRET_KEY": "SK0"}
    hub = ["--from-service", "hub"]
    # The source is at fault while it is read: nothing is sent.
    Vendor.wrong_at = 4
    cloud.take(url, 5, *hub, env=env.items())
    assert len(cloud.call("GET", "/products")["products"]) == 2
    Vendor.wrong_at = None
    # The import itself is killed while it sends, and begun again.
    for seconds in (1.0, 1.3):
        process = subprocess.Popen(
            [OTA, "cloud", "import", "--from", url, *hub, "--url", cloud.url, "--key-file",
             cloud.key_file], env={**os.environ, **env}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd=WORK)
        time.sleep(seconds)
        process.kill()
        process.wait()
    # It goes away, and comes back: the import goes on by itself.
    Vendor.calls.clear()
    Vendor.gone = 2
    lines, ended = cloud.take(url, 7, *hub, env=env.items())
    assert Vendor.gone == 0 and "does not answer" in ended.stderr, ended
    counts = lines[-1]["counts"]
    made = counts["made"] + counts["made_before"] + counts["there"]
    assert (made, counts["refused"]) == (229, 0), counts
    assert counts["firmware"] + counts["firmware_there"] == 1, counts
    left = [line["left_out"] for line in lines if "left_out" in line]
    assert len(left) == 4 == counts["left_out"], lines
    assert SECRET not in ended.stdout + ended.stderr
    there = cloud.devices("VVVVVVVVV1")
    assert len(there) == 229 and there["v000"]["tags"] == {"t": "ü;=,"}
    registration = cloud.call("GET", "/products/VVVVVVVVV1/registration")
    assert registration == {"mode": "any", "limit": 50, "secret": "ABCDEFGHIJKLMNOPQRSTUVWX"}
    moments = [at for at, _ in Vendor.calls]
    assert min(b - a for a, b in zip(moments, moments[1:])) > 0.05, "below 20 calls a second"
    # What was set here since stays.
    cloud.call("PATCH", "/products/VVVVVVVVV1/registration", {"mode": "off"})
    lines, _ = cloud.take(url, 7, *hub, "--product", "VVVVVVVVV1", env=env.items())
    counts = lines[-1]["counts"]
    assert counts["made"] == 0 and counts["firmware_there"] == 1, counts
    assert cloud.call("GET", "/products/VVVVVVVVV1/registration")["mode"] == "off"


def main():
    for what, run in [("from a cloud of ours", ours), ("from the vendor's", None)]:
        began = time.monotonic()
        if run:
            cloud = run()
        else:
            vendors(cloud)
        print(f"import: {what}, {time.monotonic() - began:.1f} s")


try:
    main()
finally:
    for process in STARTED:
        process.terminate()
        process.wait()
