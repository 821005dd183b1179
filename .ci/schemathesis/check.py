"""Calls that schemathesis makes up of the API's document, against `ota cloud serve`:
check.py OTA FOLDER DOCUMENT.

Half of the calls are about a product, devices and a firmware that are there. OTA_EXAMPLES is how many
are made up of each call beside those at the bounds of the document.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter

OTA, WORK, DOCUMENT = sys.argv[1], sys.argv[2], os.path.abspath(sys.argv[3])
SEED, EXAMPLES = "13", os.environ.get("OTA_EXAMPLES", "5")
MORE = os.environ.get("OTA_SCHEMATHESIS", "").split()
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance," \
         "response_headers_conformance,response_schema_conformance"


def start():
    log = os.path.join(WORK, "cloud.json")
    with open(log, "w") as out:
        process = subprocess.Popen(
            [OTA, "cloud", "serve", "--json", "--data", "cloud", "--mqtt", "127.0.0.1:0", "--http",
             "127.0.0.1:0", "--api", "127.0.0.1:0"], stdout=out, stderr=out, cwd=WORK)
    for _ in range(1_200):
        with open(log) as lines:
            for line in lines:
                if line.endswith("\n") and '"listening"' in line:
                    return process, "http://" + json.loads(line)["api"], log
        time.sleep(0.05)
    raise SystemExit(open(log).read()[-4000:])


def call(url, key, method, path, body, kind="application/json"):
    request = urllib.request.Request(
        url + "/api/v1" + path, data=body, method=method,
        headers={"Authorization": "Bearer " + key, "Content-Type": kind})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def config(path, parameters):
    """What schemathesis puts in for names of paths, in place of ones that it makes up."""
    with open(path, "w") as file:
        file.write("[parameters]\n")
        for name, value in parameters.items():
            file.write(f'"path.{name}" = {json.dumps(value)}\n')
    return path


def main():
    process, url, log = start()
    try:
        with open(os.path.join(WORK, "cloud", "first-start")) as file:
            key = file.read().strip()
        call(url, key, "POST", "/products", b'{"id":"TESTPROD01"}')
        names = [f"dev{number:03}" for number in range(60)]
        call(url, key, "POST", "/products/TESTPROD01/devices", "\n".join(names).encode(), "text/csv")
        call(url, key, "POST", "/products/TESTPROD01/firmware/1.0.0", b"firmware",
             "application/octet-stream")
        call(url, key, "POST", "/products/TESTPROD01/batches",
             b'{"version":"1.0.0","devices":["dev050"]}')
        # It learns ids from answers, and would remove the key that it shows.
        nobody = {"id": "0123456789abcdef"}
        known = {"product": "TESTPROD01", "name": names, "version": ["1.0.0", "2.0.0"],
                 "batch": ["1", "2"], "task": ["0-1", "50-1"], **nobody}
        failed = 0
        for what, parameters in [("what is there", known), ("anything", nobody)]:
            began = time.monotonic()
            command = [
                os.path.join(os.path.dirname(sys.executable), "schemathesis"),
                "--config-file", config(os.path.join(WORK, "st.toml"), parameters),
                "run", DOCUMENT, "--url", url, "-H", "Authorization: Bearer " + key,
                "--checks", CHECKS, "--seed", SEED, "--max-examples", EXAMPLES,
                "--phases", "examples,coverage,fuzzing", "--rate-limit", "90/s",
                "--generation-with-security-parameters", "false", "--request-timeout", "10", "--generation-database", "none", "--no-color", *MORE, "--max-time", "20", "--report-ndjson-path", os.path.join(WORK, "report"),
                # A stream does not end.
                "--exclude-path", "/api/v1/events",
            ]
            ended = subprocess.run(command, cwd=WORK, capture_output=True, text=True,
                                   env={**os.environ, "HOME": WORK})
            said = ended.stdout + ended.stderr
            with open(os.path.join(WORK, "report")) as report:
                codes = Counter(re.findall(r'"status_code": ?(\d+)', report.read()))
            spread = ", ".join(f"{codes[code]} × {code}" for code in sorted(codes))
            print(f"schemathesis: {what}: {spread}; {time.monotonic() - began:.1f} s")
            if not any(code.startswith("2") for code in codes):
                print("no call was answered well: was there time for any?")
                failed += 1
            if ended.returncode != 0:
                print(said.replace(key, "…"))
                failed += 1
        if process.poll() is not None:
            raise SystemExit(open(log).read()[-4000:])
        if failed:
            raise SystemExit("schemathesis: an answer is none of the document's")
    finally:
        process.terminate()
        process.wait()


main()
