"""What the cloud costs beside programs that people would pick instead, and with a million devices.

    python3 .ci/measure/cloud.py wires     reports beside mosquitto, ranges beside nginx
    python3 .ci/measure/cloud.py million   a start, pages and a vendor's action with a million devices,
                                           which are made once and kept in WORK/million
    python3 .ci/measure/cloud.py durable   durable reports a second, 1,000 and 10,000 devices
    python3 .ci/measure/cloud.py reconnects   memory a device when 1,000 devices come again twelve times
    python3 .ci/measure/cloud.py goosebit  beside goosebit 0.2.12, from the Python registry

OTA names the program (target/release/ota), WORK a folder on a disk (target/measure). Everything is on
loopback, and one client measures both sides of a comparison, in turn. Processor time is that of all of a
server's threads and processes."""

import base64
import hashlib
import hmac
import http.client
import json
import multiprocessing
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse

OTA = os.path.abspath(os.environ.get("OTA", "target/release/ota"))
WORK = os.path.abspath(os.environ.get("WORK", "target/measure"))
PRODUCT = "TESTPROD01"


def text(value):
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(head, body):
    size, length = len(body), b""
    while True:
        low, size = size % 128, size // 128
        length += bytes([low | (128 if size else 0)])
        if not size:
            return bytes([head]) + length + body


def connect(device, secret=None):
    user = f"{PRODUCT}{device};12010126;abcde;2000000000"
    mac = hmac.new(secret, user.encode(), hashlib.sha256).hexdigest() if secret else "00" * 32
    flags = bytes([4, 0xC2]) + (600).to_bytes(2, "big")
    names = text(PRODUCT + device) + text(user) + text(mac + ";hmacsha256")
    return packet(0x10, text("MQTT") + flags + names)


def subscribe(topic):
    return packet(0x82, b"\0\1" + text(topic) + b"\1")


REPORT = b'{"type":"report_version","report":{"version":"1.0.0"}}'


def publish(topic, number, payload=REPORT):
    return packet(0x32, text(topic) + number.to_bytes(2, "big") + payload)


def processor(pid):
    """Seconds of a processor that a process and its children used."""
    total, pids = 0, [pid]
    while pids:
        pid = pids.pop()
        for task in os.listdir(f"/proc/{pid}/task"):
            total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
            pids += [int(n) for n in open(f"/proc/{pid}/task/{task}/children").read().split()]
    return total / 1e9


def memory(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024


class Process:
    """A server, ended with the block."""

    def __init__(self, *command, port, log="server.log"):
        self.log = open(os.path.join(WORK, log), "w")
        self.began = time.monotonic()
        self.child = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.pid = self.child.pid
        while True:
            if self.child.poll() is not None:
                sys.exit(f"{command[0]} ended: {open(self.log.name).read()}")
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.001)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait()


class Client:
    """One device's connection, without the patience of a real one."""

    def __init__(self, port, name, own, to):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(connect(name) + subscribe(own))
        self.to, self.data, self.got = to, b"", set()

    def take(self):
        data = self.socket.recv(65536)
        if not data:
            sys.exit("a server closed a connection")
        self.data += data
        while len(self.data) >= 2:
            size, at = 0, 1
            while True:
                if at >= len(self.data):
                    return
                byte = self.data[at]
                size |= (byte & 127) << 7 * (at - 1)
                at += 1
                if not byte & 128:
                    break
            if len(self.data) < at + size:
                return
            head, body, self.data = self.data[0], self.data[at : at + size], self.data[at + size :]
            kind = head >> 4
            if kind == 2 and body[1]:
                sys.exit(f"a login was refused: {body[1]}")
            if kind == 3 and head & 6:
                name = int.from_bytes(body[:2], "big")
                self.socket.send(b"\x40\x02" + body[2 + name : 4 + name])
            self.got.add(kind)


def answered(clients, poll, kinds):
    left = {number for number, client in clients.items() if not kinds <= client.got}
    end = time.monotonic() + 30
    while left:
        for number, _ in poll.poll(1):
            clients[number].take()
            if kinds <= clients[number].got:
                left.discard(number)
        if time.monotonic() > end:
            sys.exit(f"{len(left)} devices have no answer")


def reports(port, pid, count, topics, rounds):
    """Microseconds of a processor for a report, its acknowledgement and its answer."""
    clients, poll = {}, select.epoll()
    for number in range(count):
        name = f"load{number:05}"
        client = Client(port, name, *topics(name))
        clients[client.socket.fileno()] = client
        poll.register(client.socket.fileno(), select.EPOLLIN)
    answered(clients, poll, {2, 9})
    for turn in range(rounds + 1):
        if turn == 1:
            before = processor(pid)
        for client in clients.values():
            client.got = set()
            client.socket.send(publish(client.to, turn % 60000 + 1))
        answered(clients, poll, {3, 4})
    used = processor(pid) - before
    for client in clients.values():
        client.socket.close()
    return used / (count * rounds) * 1e6


def paced(port, count, rate, seconds):
    """Sends so many reports a second, over so many connections, and does not wait for answers."""
    clients, poll = [], select.epoll()
    for number in range(count):
        name = f"load{number:05}"
        client = Client(port, name, *ota_topics(name))
        clients.append(client)
        poll.register(client.socket.fileno(), select.EPOLLIN)
    by_number = {client.socket.fileno(): client for client in clients}
    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        while sent < now * rate:
            client = clients[sent % count]
            client.socket.send(publish(client.to, sent // count % 60000 + 1))
            sent += 1
        for number, _ in poll.poll(0.005):
            by_number[number].take()


def ranges(port, pid, path, size, count):
    """Microseconds of a processor, and on the wall, for a range of 64 KiB."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    space = bytearray(70000)
    for number in range(count + 200):
        if number == 200:
            before, began = processor(pid), time.monotonic()
        at = number * 65536 % size
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={at}-{at + 65535}\r\n\r\n"
        connection.sendall(head.encode())
        got, start = 0, b""
        while got < 65536:
            taken = connection.recv_into(space)
            if not taken:
                sys.exit("a server closed a connection")
            if start is None:
                got += taken
                continue
            start += bytes(space[:taken])
            end = start.find(b"\r\n\r\n")
            if end >= 0:
                if not start.startswith(b"HTTP/1.1 206"):
                    sys.exit(f"no range: {start[:100]}")
                got, start = len(start) - end - 4, None
    wall = time.monotonic() - began
    return (processor(pid) - before) / count * 1e6, wall / count * 1e6


def offer(port, device, secret):
    """The path of the URL that a device is offered."""
    connection = socket.create_connection(("127.0.0.1", port))
    own, to = ota_topics(device)
    connection.sendall(connect(device, secret) + subscribe(own) + publish(to, 1))
    got = b""
    while not (found := re.search(rb'"url":"http://[^/]*([^"]*)"', got)):
        data = connection.recv(4096)
        if not data:
            sys.exit("the cloud closed the connection before an offer")
        got += data
    return found[1].decode()


def ota_topics(name):
    return f"$ota/update/{PRODUCT}/{name}", f"$ota/report/{PRODUCT}/{name}"


def echo_topics(name):
    return (f"echo/update/{PRODUCT}/{name}",) * 2


def cloud(*more, data="cloud", wait=21883):
    addresses = ["--mqtt", "127.0.0.1:21883", "--http", "127.0.0.1:21884"]
    folder = ["--data", os.path.join(WORK, data), "--api", "127.0.0.1:21885"] if data else []
    return Process(OTA, "cloud", "serve", *addresses, *folder, *more, port=wait)


def key(data="cloud"):
    path = os.path.join(WORK, data, "first-start")
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


def ota(*command, data="cloud"):
    env = dict(os.environ, OTA_CLOUD_URL="http://127.0.0.1:21885", OTA_CLOUD_KEY_FILE=key(data))
    return subprocess.run([OTA, "cloud", *command], env=env, check=True, capture_output=True).stdout


def wires():
    conf = os.path.join(WORK, "mosquitto.conf")
    with open(conf, "w") as file:
        file.write("listener 21886 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    print("report, acknowledgement and answer: µs of a processor")
    with Process("mosquitto", "-c", conf, port=21886, log="mosquitto.log") as echo:
        with cloud("--anonymous", "--quiet", "--max-devices", "9500", data=None) as ours:
            for _ in range(3):
                for count in (1000, 9000):
                    theirs = reports(21886, echo.pid, count, echo_topics, 90_000 // count)
                    mine = reports(21883, ours.pid, count, ota_topics, 90_000 // count)
                    row = f"{count:6} devices: mosquitto {theirs:5.1f}, ours {mine:5.1f}"
                    print(f"{row}, ratio {mine / theirs:.2f}", flush=True)
    size = 16 * 1024 * 1024
    image = os.path.join(WORK, "image.bin")
    with open(image, "wb") as file:
        file.write(os.urandom(size))
    conf = os.path.join(WORK, "nginx.conf")
    with open(conf, "w") as file:
        places = "".join(f"{n}_temp_path {WORK}/temp;" for n in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        file.write(f"worker_processes 1; pid {WORK}/nginx.pid; error_log {WORK}/nginx.err;"
                   f" daemon off; user root; events {{ worker_connections 100; }} http {{"
                   f" access_log {WORK}/nginx.access; sendfile on; tcp_nopush on;"
                   f" keepalive_requests 1000000; {places}"
                   f" server {{ listen 127.0.0.1:21887; root {WORK}; }} }}")
    shutil.rmtree(os.path.join(WORK, "cloud"), ignore_errors=True)
    print("a range of 64 KiB, both with a line of log: µs of a processor (on the wall)")
    with Process("nginx", "-c", conf, port=21887, log="nginx.log") as nginx:
        with cloud("--show-secrets", "--firmware", f"{PRODUCT}/2.0.0={image}") as ours:
            secret = base64.b64decode(ota("device", "add", f"{PRODUCT}/dev1").split()[-1])
            path = offer(21883, "dev1", secret)
            for _ in range(5):
                theirs = ranges(21887, nginx.pid, "/image.bin", size, 5000)
                mine = ranges(21884, ours.pid, path, size, 5000)
                row = f"nginx {theirs[0]:5.1f} ({theirs[1]:.0f}), ours {mine[0]:5.1f} ({mine[1]:.0f})"
                print(f"{row}, ratio {mine[0] / theirs[0]:.2f}", flush=True)


def durable():
    for count in (1000, 10_000):
        shutil.rmtree(os.path.join(WORK, "cloud"), ignore_errors=True)
        with cloud("--anonymous", "--quiet", "--max-devices", "10000") as ours:
            load = [OTA, "cloud", "load", "--broker", "mqtt://127.0.0.1:21883", "--devices"]
            load += [str(count), "--for", "10s", "--spread", "3s", "--pid", str(ours.pid)]
            print(subprocess.run(load, check=True, capture_output=True, text=True).stdout, flush=True)


def anonymous(pid):
    lines = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"Anonymous:\s+(\d+)", lines)[1]) * 1.024


def reconnects():
    count = 1000
    with cloud("--anonymous", "--quiet", "--max-devices", str(count), data=None) as ours:
        time.sleep(0.5)
        before = anonymous(ours.pid)
        for turn in range(13):
            clients, poll = {}, select.epoll()
            for number in range(count):
                name = f"load{number:05}"
                client = Client(21883, name, *ota_topics(name))
                clients[client.socket.fileno()] = client
                poll.register(client.socket.fileno(), select.EPOLLIN)
            answered(clients, poll, {2, 9})
            for number in range(3):
                for client in clients.values():
                    client.got = set()
                    client.socket.send(publish(client.to, number + 1))
                answered(clients, poll, {3, 4})
            each = (anonymous(ours.pid) - before) / count
            print(f"after {turn} reconnects {each:.1f} KB a device", flush=True)
            for client in clients.values():
                client.socket.close()
            time.sleep(0.3)


def quantiles(name, call, count, rate):
    times, due = [], time.monotonic()
    for number in range(count):
        began = time.monotonic()
        call(number)
        times.append((time.monotonic() - began) * 1e3)
        due += 1 / rate
        time.sleep(max(0, due - time.monotonic()))
    times.sort()
    row = f"median {times[count // 2]:.1f} ms, 99 % {times[count * 99 // 100]:.1f} ms"
    print(f"{name}: {row}, {count} calls", flush=True)


def vendor(connection, path):
    """A caller of the vendor's API, signed with TC3-HMAC-SHA256."""
    _, ident, secret = open(path).read().strip().split(".")

    def mac(own, message):
        return hmac.new(own, message.encode(), hashlib.sha256).digest()

    def call(action, **parameters):
        body, now = json.dumps(parameters), int(time.time())
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        head = {"content-type": "application/json", "host": "127.0.0.1", "x-tc-action": action}
        names = ";".join(head)
        lines = "".join(f"{name}:{value}\n" for name, value in head.items())
        digest = hashlib.sha256(body.encode()).hexdigest()
        request = f"POST\n/\n\n{lines}\n{names}\n{digest}"
        scope = f"{day}/iotexplorer/tc3_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signed = f"TC3-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        own = mac(mac(mac(("TC3" + secret).encode(), day), "iotexplorer"), "tc3_request")
        parts = f"Credential={ident}/{scope}, SignedHeaders={names}"
        head["authorization"] = f"TC3-HMAC-SHA256 {parts}, Signature={mac(own, signed).hex()}"
        head |= {"x-tc-version": "2019-04-23", "x-tc-timestamp": str(now)}
        connection.request("POST", "/", body, head)
        answer = json.loads(connection.getresponse().read())["Response"]
        if "Error" in answer:
            sys.exit(f"{action}: {answer['Error']}")

    return call


def million():
    serve = ["--anonymous", "--quiet", "--max-devices", "1002000"]
    if not os.path.exists(os.path.join(WORK, "million")):
        rows = os.path.join(WORK, "devices.csv")
        with open(rows, "w") as file:
            file.write("name,secret,tags\n")
            for n in range(1_000_000):
                secret = base64.b64encode(b"secret%010d" % n).decode()
                file.write(f"dev{n:07},{secret},line={n % 10}\n")
        with cloud(*serve, data="million", wait=21885) as ours:
            print(f"at rest without devices: {memory(ours.pid):.0f} MiB")
            began = time.monotonic()
            ota("import", rows, "--product", PRODUCT, data="million")
            print(f"1,000,000 devices imported in {time.monotonic() - began:.0f} s")
    for _ in range(5):
        with cloud(*serve, data="million") as ours:
            one = socket.create_connection(("127.0.0.1", 21883))
            own, to = ota_topics("dev0500000")
            one.sendall(connect("dev0500000", b"secret%010d" % 500000) + subscribe(own))
            one.sendall(publish(to, 1))
            got = b""
            while b"report_version_rsp" not in got:
                data = one.recv(4096)
                if not data:
                    sys.exit("the cloud closed the connection before its answer")
                got += data
            served = (time.monotonic() - ours.began) * 1e3
            print(f"first device served {served:.0f} ms after the start; {memory(ours.pid):.0f} MiB")
    with cloud(*serve, data="million", wait=21885) as ours:
        head = {"Authorization": "Bearer " + open(key("million")).read().strip()}
        connection = http.client.HTTPConnection("127.0.0.1", 21885)

        def get(path):
            connection.request("GET", f"/api/v1/products/{PRODUCT}/devices?limit=50&{path}", headers=head)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                sys.exit(f"{path}: {answer.status} {body[:200]}")

        for rate in (0, 10_000):
            if rate:
                load = multiprocessing.Process(target=paced, args=(21883, 1000, rate, 40))
                load.start()
                time.sleep(4)
            say = f"with {rate} reports a second" if rate else "at rest"
            quantiles(f"a page of 50, {say}", lambda n: get(f"after=dev{n * 7919 % 10**6:07}"), 300, 50)
            quantiles(f"under a prefix, {say}", lambda n: get(f"prefix=dev{n * 7919 % 10**5:05}"), 300, 50)
            quantiles(f"by a tag, {say}", lambda n: get(f"tag=line:{n % 10}"), 300, 50)
            action = vendor(http.client.HTTPConnection("127.0.0.1", 21885), key("million"))
            quantiles(f"DescribeDevice, {say}", lambda n: action(
                "DescribeDevice", ProductId=PRODUCT, DeviceName=f"dev{n * 7919 % 10**6:07}"), 300, 20)
        load.join()
        pages(ours)
        print(f"at the end {memory(ours.pid):.0f} MiB")


class Pages:
    """A person's browser without its display: cookies, and the hidden fields of forms."""

    def __init__(self, port):
        self.origin = f"http://127.0.0.1:{port}"
        self.connection, self.cookies = http.client.HTTPConnection("127.0.0.1", port), {}

    def call(self, method, path, body=None, follow=True):
        head = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body is not None:
            head |= {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
            body = urllib.parse.urlencode(body)
        self.connection.request(method, path, body, head)
        answer = self.connection.getresponse()
        text = answer.read()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                name, value = value.split(";")[0].split("=", 1)
                self.cookies[name] = value
        if answer.status == 303 and follow:
            return self.call("GET", answer.getheader("Location"))
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {text[:300]}")
        return text

    def begin(self, folder):
        """Becomes the first admin."""
        link = ota("admin", "link", os.path.join(WORK, folder), "--api-url", self.origin, data=folder)
        path, code = link.decode().strip().removeprefix(self.origin).split("#")
        hidden = re.findall(rb'type="hidden" name="([^"]*)" value="([^"]*)"', self.call("GET", path))
        fields = {name.decode(): value.decode() for name, value in hidden}
        self.call("POST", path, fields | {"code": code, "name": f"root{time.time():.0f}", "password": "correct horse"})


def pages(ours):
    """The console with a million devices: the first page, lists, and a live page of a batch."""
    browser = Pages(21885)
    browser.begin("million")
    first = browser.call("GET", "/console/products")
    parts = re.findall(rb'(?:href|src)="(/console/(?:style|script)/[^"]*)"', first)
    whole = len(first) + sum(len(browser.call("GET", part.decode())) for part in parts)
    print(f"first page: {whole / 1e3:.1f} KB with style and script")
    lists = f"/console/products/{PRODUCT}/devices"
    quantiles("first page", lambda n: browser.call("GET", "/console/products"), 300, 50)
    quantiles("page of devices", lambda n: browser.call("GET", f"{lists}?prefix=dev{n:05}"), 300, 50)
    image = os.path.join(WORK, "image")
    with open(image, "wb") as file:
        file.write(os.urandom(100_000))
    version = f"9.0.{time.time():.0f}"
    ota("firmware", "add", f"{PRODUCT}/{version}", image, data="million")
    # A batch of a thousand devices that report all the time.
    started = ota("batch", "start", PRODUCT, "--to", version, "--prefix", "load", "--override", data="million")
    number = re.search(rb"batch (\d+)", started)[1].decode()
    load = multiprocessing.Process(target=paced, args=(21883, 1000, 100, 130))
    load.start()
    time.sleep(5)
    costs, got, each = {False: 0.0, True: 0.0}, 0, 30
    # In turns, because the load costs more than what is measured.
    for watched in (False, True) * 2:
        live = socket.create_connection(("127.0.0.1", 21885))
        if watched:
            cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            live.sendall(f"GET /console/products/{PRODUCT}/batches/{number}/live HTTP/1.1\r\n"
                         f"Host: 127.0.0.1:21885\r\nCookie: {cookie}\r\n\r\n".encode())
        live.settimeout(0.2)
        before, began = processor(ours.pid), time.monotonic()
        while time.monotonic() - began < each:
            try:
                got += len(live.recv(65536))
            except TimeoutError:
                pass
        costs[watched] += (processor(ours.pid) - before) / each * 50
        live.close()
    print(f"a live page: {costs[True] - costs[False]:.2f} % of a core ({costs[True]:.2f} with it,"
          f" {costs[False]:.2f} without), {got / each / 2e3:.1f} KB a second")
    load.join()


def goosebit():
    place = os.path.join(WORK, "goosebit")
    python = os.path.join(place, "bin", "python3")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "goosebit==0.2.12"], check=True)
    base = os.path.join(WORK, "goosebit.db")
    for name in os.listdir(WORK):
        if name.startswith("goosebit.db"):
            os.remove(os.path.join(WORK, name))
    os.environ |= {"GOOSEBIT_DB_URI": f"sqlite://{base}", "GOOSEBIT_ARTIFACTS_DIR": WORK}
    os.environ["GOOSEBIT_PORT"] = "21888"
    tables = ("import asyncio; from tortoise import Tortoise;"
              " from goosebit.db.config import TORTOISE_CONF as c\n"
              "async def f():\n await Tortoise.init(config=c)\n await Tortoise.generate_schemas()\n"
              " await Tortoise.close_connections()\nasyncio.run(f())")
    subprocess.run([python, "-c", tables], check=True, capture_output=True)
    rounds, devices = 20, 100
    with Process(python, "-m", "goosebit", port=21888, log="goosebit.log") as theirs:
        start = (time.monotonic() - theirs.began) * 1e3
        connection = http.client.HTTPConnection("127.0.0.1", 21888)

        def call(method, path, body=None):
            head = {"content-type": "application/json"}
            connection.request(method, f"/DEFAULT/controller/v1/{path}", body, head)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status >= 300:
                sys.exit(f"goosebit: {path}: {answer.status} {data[:200]}")

        for number in range(devices):
            call("GET", f"dev{number}")
        status = {"execution": "proceeding", "result": {"finished": "none"}, "details": ["50 %"]}
        body = json.dumps({"id": "1", "status": status})
        print(f"goosebit: answers {start:.0f} ms after its start, {memory(theirs.pid):.0f} MiB")
        before, began = processor(theirs.pid), time.monotonic()
        for number in range(rounds * devices):
            call("POST", f"dev{number % devices}/deploymentBase/1/feedback", body)
        used, wall = processor(theirs.pid) - before, time.monotonic() - began
        count = rounds * devices
        print(f"goosebit: {count / used:.0f} feedbacks a second of a processor, {count / wall:.0f} on the"
              f" wall; {memory(theirs.pid):.0f} MiB")
    shutil.rmtree(os.path.join(WORK, "cloud"), ignore_errors=True)
    with cloud("--anonymous", "--quiet") as ours:
        start = (time.monotonic() - ours.began) * 1e3
        print(f"ours: answers {start:.0f} ms after its start, {memory(ours.pid):.0f} MiB")
        cost = reports(21883, ours.pid, devices, ota_topics, 500)
        print(f"ours: {1e6 / cost:.0f} durable reports a second of a processor; {memory(ours.pid):.0f} MiB")


if __name__ == "__main__":
    works = {"goosebit": goosebit, "wires": wires, "million": million, "durable": durable,
             "reconnects": reconnects}
    if len(sys.argv) != 2 or sys.argv[1] not in works:
        sys.exit(__doc__)
    os.makedirs(WORK, exist_ok=True)
    works[sys.argv[1]]()
