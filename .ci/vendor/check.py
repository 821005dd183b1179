"""The vendor's clients against `ota cloud serve`: check.py OTA FOLDER.

Three steps by which firmware comes in, one device that is updated and proved, a batch that is
watched, cancelled and retried, and the errors that can be provoked, by the Python SDK of both
products and the command-line tool.
"""

import hashlib
import json
import os
import subprocess
import sys
import time

import requests
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.iotcloud.v20210408 import errorcodes as hub_codes
from tencentcloud.iotcloud.v20210408 import iotcloud_client
from tencentcloud.iotcloud.v20210408 import models as hub_models
from tencentcloud.iotexplorer.v20190423 import errorcodes as explorer_codes
from tencentcloud.iotexplorer.v20190423 import iotexplorer_client
from tencentcloud.iotexplorer.v20190423 import models as explorer_models

OTA, WORK = sys.argv[1], sys.argv[2]
PRODUCT = "TESTPROD01"
IMAGE = os.urandom(200_000)
# Codes of every API, which the packages of single services do not list.
COMMON = {
    "AuthFailure.SecretIdNotFound", "AuthFailure.SignatureFailure", "AuthFailure.SignatureExpire",
    "AuthFailure.UnauthorizedOperation", "InvalidAction", "NoSuchVersion", "LimitExceeded",
}
KNOWN = COMMON | {
    value for codes in (hub_codes, explorer_codes) for value in vars(codes).values()
    if isinstance(value, str)
}
STARTED = []


def start(name, *args):
    log = open(os.path.join(WORK, name + ".json"), "w+")
    process = subprocess.Popen([OTA, *args], stdout=log, stderr=subprocess.STDOUT, cwd=WORK)
    STARTED.append(process)
    return log.name


def event(path, name):
    """The first line of a log that is this event."""
    for _ in range(1_200):
        with open(path) as log:
            for line in log:
                if line.endswith("\n") and line.startswith("{"):
                    said = json.loads(line)
                    if said.get("event") == name:
                        return said
        time.sleep(0.05)
    raise SystemExit(f"no {name}: {open(path).read()[-4000:]}")


def until(what, holds):
    for _ in range(1_200):
        if holds():
            return
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}")


class Client:
    """One product's client: `client.Action(Parameter=…)`."""

    def __init__(self, kind, models, endpoint, key, get=False):
        http = HttpProfile(protocol="http", endpoint=endpoint, reqMethod="GET" if get else "POST")
        self.client = kind(credential.Credential(*key), "ap-guangzhou", ClientProfile(httpProfile=http))
        self.models = models

    def __getattr__(self, action):
        def call(**parameters):
            request = getattr(self.models, action + "Request")()
            request.from_json_string(json.dumps(parameters))
            answer = json.loads(getattr(self.client, action)(request).to_json_string())
            assert answer.pop("RequestId"), action
            return answer
        return call


def refused(code, call, **parameters):
    try:
        answer = call(**parameters)
    except TencentCloudSDKException as why:
        assert why.get_code() == code, why
        assert why.get_request_id(), why
        assert code in KNOWN, f"{code} is in no SDK"
        return
    raise AssertionError(f"taken: {answer}, expected {code}")


def tool(key, endpoint, *args):
    """The command-line tool, whose answer or error is text."""
    command = [os.path.join(os.path.dirname(sys.executable), "tccli"), *args]
    command += ["--region", "ap-guangzhou", "--endpoint", "http://" + endpoint]
    env = {**os.environ, "HOME": WORK, "TENCENTCLOUD_SECRET_ID": key[0],
           "TENCENTCLOUD_SECRET_KEY": key[1]}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=WORK)


def digest(data):
    return hashlib.md5(data).hexdigest()


def upload(client, version, spelling):
    """Three steps."""
    which = {spelling: PRODUCT, "FirmwareVersion": version}
    url = client.GetCOSURL(**which, FileSize=len(IMAGE))["Url"]
    what = {**which, "Md5sum": digest(IMAGE), "FileSize": len(IMAGE)}
    refused("FailedOperation", client.UploadFirmware, **what)
    assert requests.put(url, data=IMAGE).status_code == 200
    assert requests.put(url, data=IMAGE).status_code == 403
    refused("FailedOperation", client.UploadFirmware, **{**what, "Md5sum": digest(b"other")})
    client.UploadFirmware(**what, FirmwareName="by the SDK", FirmwareDescription="text")
    refused("InvalidParameterValue.FirmwareAlreadyExist", client.UploadFirmware, **what)


def catalogue(explorer, hub):
    upload(explorer, "1.0.0", "ProductID")
    upload(hub, "2.0.0", "ProductId")
    shown = explorer.DescribeFirmware(ProductID=PRODUCT, FirmwareVersion="1.0.0")
    assert (shown["Name"], shown["Md5sum"]) == ("by the SDK", digest(IMAGE)), shown
    listed = explorer.ListFirmwares(PageNum=1, PageSize=10, ProductID=PRODUCT)
    assert [one["Version"] for one in listed["Firmwares"]] == ["1.0.0", "2.0.0"], listed
    hub.EditFirmware(ProductId=PRODUCT, FirmwareVersion="2.0.0", FirmwareName="new name")
    assert hub.DescribeFirmware(ProductId=PRODUCT, FirmwareVersion="2.0.0")["Name"] == "new name"
    assert hub.GetAllVersion(ProductId=PRODUCT)["Version"] == ["1.0.0", "2.0.0"]
    explorer.CreateOtaModule(ProductID=PRODUCT, FwType="bms", Name="battery")
    modules = explorer.ListProductOtaModules(ProductID=PRODUCT)["Modules"]
    assert [one["FwType"] for one in modules] == ["default", "mcu", "bms"], modules
    explorer.DeleteOtaModule(ProductID=PRODUCT, FwType="bms")


def one_device(explorer, hub, mqtt):
    """A device is made, connects, is updated, and proves it."""
    made = explorer.CreateDevice(ProductId=PRODUCT, DeviceName="real")["Data"]
    refused("InvalidParameterValue.DeviceAlreadyExist", hub.CreateDevice, ProductId=PRODUCT,
            DeviceName="real")
    update = {"ProductID": PRODUCT, "DeviceName": "real", "FirmwareVersion": "1.0.0",
              "FirmwareOriVersion": "0.1.0"}
    refused("ResourceNotFound.DeviceHasNoFirmware", explorer.UpdateFirmware, **update)
    path = os.path.join(WORK, "real.toml")
    install = ["sh", "-c", f"cp $0 {WORK}/installed && sed -i s/0.1.0/$1/ {path}", "{image}",
               "{version}"]
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as config:
        config.write(
            f'product_id = "{PRODUCT}"\ndevice_name = "real"\n'
            f'device_secret = "{made["DevicePsk"]}"\ndata_dir = "{WORK}/device"\n'
            f'version = "0.1.0"\nconnect_spacing = 0\nrestart = "none"\nallow_http = true\n'
            f'broker = "mqtt://{mqtt}"\ninstall = {json.dumps(install)}\n')
    start("agent", "agent", "--json", "--once", "--wait", "60", "--config", path)
    one = {"ProductId": PRODUCT, "DeviceName": "real"}
    until("a version report", lambda: hub.DescribeDevice(**one)["Version"] == "0.1.0")
    assert explorer.CheckFirmwareUpdate(**one) == {"CurrentVersion": "0.1.0", "DstVersion": ""}
    refused("FailedOperation.UpdateVersionNotMatch", explorer.UpdateFirmware,
            **{**update, "FirmwareOriVersion": "0.0.9"})
    explorer.UpdateFirmware(**update)
    until("the proof", lambda: explorer.DescribeFirmwareUpdateStatus(**one)["Status"] == 6)
    with open(os.path.join(WORK, "installed"), "rb") as installed:
        assert installed.read() == IMAGE, "other bytes were installed"
    tasks = explorer.DescribeFirmwareTasks(ProductID=PRODUCT, FirmwareVersion="1.0.0", Offset=0,
                                           Limit=10)
    assert [(one["TaskId"], one["Status"]) for one in tasks["TaskInfos"]] == [(1, 5)], tasks
    refused("FailedOperation.DeviceFirmwareIsUpdated", explorer.UpdateFirmware,
            **{**update, "FirmwareOriVersion": "1.0.0"})
    assert explorer.DescribeDeviceFirmwares(**one)["Firmwares"][0]["Version"] == "1.0.0"


def batch(explorer, hub, get, key, endpoint):
    """Devices that are away: a batch is watched, cancelled, retried."""
    names = [f"d{number}" for number in range(5)]
    for name in names + ["extra"]:
        hub.CreateDevice(ProductId=PRODUCT, DeviceName=name)
    which = {"ProductId": PRODUCT, "FirmwareVersion": "2.0.0"}
    task = hub.BatchUpdateFirmware(**which, DeviceNames=names + ["real"])["TaskId"]
    of = {**which, "TaskId": task}
    assert hub.DescribeFirmwareTask(**of)["Status"] == 3
    spread = {one["Status"]: one["Total"]
              for one in hub.DescribeFirmwareTaskDistribution(**of)["StatusInfos"]}
    assert sum(spread.values()) == 6 and spread[0] >= 5, spread
    devices = get.DescribeFirmwareTaskDevices(
        ProductID=PRODUCT, FirmwareVersion="2.0.0", Offset=0, Limit=3,
        Filters=[{"Key": "TaskId", "Value": str(task)}])
    assert (devices["Total"], len(devices["Devices"])) == (6, 3), devices
    part = {**of, "DeviceName": "d0"}
    refused("UnsupportedOperation.DeviceOtaTaskInProgress", hub.RetryDeviceFirmwareTask, **part)
    hub.CancelDeviceFirmwareTask(**part)
    # The same call in the same second has the same signature, and that has changed something.
    second = int(time.time())
    until("the next second", lambda: int(time.time()) > second)
    refused("FailedOperation.DeviceFirmwareTaskAlreadDone", hub.CancelDeviceFirmwareTask, **part)
    hub.RetryDeviceFirmwareTask(**part)
    refused("ResourceNotFound.DeviceFirmwareTaskNotExist", hub.CancelDeviceFirmwareTask,
            **{**of, "DeviceName": "extra"})
    said = tool(key, endpoint, "iotexplorer", "BatchUpdateFirmware", "--ProductID", PRODUCT,
                "--FirmwareVersion", "2.0.0", "--DeviceNames", '["d1", "d2"]')
    assert said.returncode == 0, said
    assert json.loads(said.stdout)["TaskId"] == task + 1, said
    busy = hub.DescribeFirmwareTaskDistribution(**{**of, "TaskId": task + 1})["StatusInfos"]
    assert busy == [{"Status": 5, "Total": 2}], busy
    explorer.UpdateOtaTaskStatus(ProductId=PRODUCT, TaskId=task, Status=6)
    assert hub.DescribeFirmwareTask(**of)["Status"] == 6
    total = hub.DescribeFirmwareTaskStatistics(**which)
    assert (total["SuccessTotal"], total["UpgradingTotal"]) == (0, 0), total
    paced = hub.BatchUpdateFirmware(**which, DeviceNames=["d0"], RateLimit=5)["TaskId"]
    assert hub.DescribeFirmwareTask(**{**of, "TaskId": paced})["Status"] in (3, 4), paced
    refused("UnsupportedOperation", explorer.BatchUpdateFirmware, ProductID=PRODUCT,
            FirmwareVersion="2.0.0", DeviceNames=["d1"], DelayTime=5)
    refused("ResourceNotFound.DeviceNotExist", hub.BatchUpdateFirmware, **which,
            DeviceNames=["d1", "nobody"])
    refused("ResourceNotFound.FirmwareTaskNotExist", hub.DescribeFirmwareTask, **{**of, "TaskId": 99})
    file = hub.CreateTaskFileUrl(ProductId=PRODUCT)
    assert requests.put(file["Url"], data=b"d3\nd4\n").status_code == 200
    hub.BatchUpdateFirmware(**which, FileName=file["FileName"])


def products(explorer, hub, get):
    """Made, set and removed by both consoles' clients."""
    studio = {"ProductName": "bulb", "CategoryId": 1, "ProductType": 0, "EncryptionType": "2",
              "NetType": "wifi", "DataProtocol": 2, "ProductDesc": "round", "ProjectId": "p"}
    bulb = explorer.CreateStudioProduct(**studio)["Product"]["ProductId"]
    refused("InvalidParameterValue.ProductAlreadyExist", explorer.CreateStudioProduct,
            **{**studio, "ProductDesc": "another"})
    refused("UnsupportedOperation", explorer.CreateStudioProduct,
            **{**studio, "ProductName": "gateway", "ProductType": 5})
    lamp = hub.CreateProduct(ProductName="lamp", ProductProperties={"EncryptionType": "2"})
    lamp = lamp["ProductId"]
    refused("UnsupportedOperation", hub.CreateProduct, ProductName="certificates")
    # A list that is flattened into a query.
    cup = get.CreateStudioProduct(**{**studio, "ProductName": "cup"})["Product"]["ProductId"]
    listed = explorer.GetStudioProductList(Offset=0, Limit=10)["Products"]
    names = {one["ProductId"]: one["ProductName"] for one in listed}
    assert names == {PRODUCT: PRODUCT, bulb: "bulb", lamp: "lamp", cup: "cup"}, names
    made = hub.UpdateProductDynamicRegister(ProductId=lamp, RegisterType=2, RegisterLimit=10)
    shown = explorer.DescribeProductDynamicRegister(ProductId=lamp)
    assert made == shown and len(shown["ProductSecret"]) == 24, (made, shown)
    explorer.ModifyProductDynamicRegister(ProductId=lamp, RegisterType=0, RegisterLimit=0)
    shown = hub.DescribeProduct(ProductId=lamp)
    assert shown["ProductProperties"]["RegisterType"] == 0, shown
    hub.CreateDevice(ProductId=lamp, DeviceName="d")
    refused("UnauthorizedOperation.DevicesExistUnderProduct", hub.DeleteProduct, ProductId=lamp)
    refused("UnsupportedOperation.DevicesExistUnderProduct", explorer.DeleteStudioProduct,
            ProductId=lamp)
    hub.DeleteDevice(ProductId=lamp, DeviceName="d")
    hub.DeleteProduct(ProductId=lamp)
    for product in (bulb, cup):
        explorer.DeleteStudioProduct(ProductId=product)
    refused("ResourceNotFound.ProductOrDeviceNotExist", explorer.DescribeStudioProduct,
            ProductId=bulb)


def errors(explorer, hub, key, endpoint):
    refused("ResourceNotFound.ProductOrDeviceNotExist", explorer.DescribeFirmware,
            ProductID="NOBODYS001", FirmwareVersion="1.0.0")
    refused("ResourceNotFound.ProductNotExist", hub.GetAllVersion, ProductId="NOBODYS001")
    refused("ResourceNotFound.FirmwareNotExist", hub.DescribeFirmware, ProductId=PRODUCT,
            FirmwareVersion="9")
    refused("MissingParameter", hub.DescribeFirmware, ProductId=PRODUCT)
    refused("InvalidParameterValue", explorer.ListFirmwares, PageNum=0, PageSize=10)
    kinds = (iotcloud_client.IotcloudClient, hub_models)
    stranger = Client(*kinds, endpoint, ("0" * 16, key[1]))
    refused("AuthFailure.SecretIdNotFound", stranger.GetAllVersion, ProductId=PRODUCT)
    other = Client(*kinds, endpoint, (key[0], "0" * 64))
    refused("AuthFailure.SignatureFailure", other.GetAllVersion, ProductId=PRODUCT)
    said = tool(key, endpoint, "iotexplorer", "DescribeFirmware", "--ProductID", PRODUCT,
                "--FirmwareVersion", "9")
    assert "ResourceNotFound.FirmwareNotExist" in said.stdout + said.stderr, said


def main():
    log = start("cloud", "cloud", "serve", "--json", "--data", "cloud", "--mqtt", "127.0.0.1:0",
                "--http", "127.0.0.1:0", "--api", "127.0.0.1:0")
    listens = event(log, "listening")
    endpoint = listens["api"]
    with open(os.path.join(WORK, "cloud", "first-start")) as file:
        text = file.read().strip()
    key = tuple(text.split(".")[1:])
    answer = requests.post(f"http://{endpoint}/api/v1/products", json={"id": PRODUCT},
                           headers={"Authorization": f"Bearer {text}"})
    assert answer.status_code == 201, answer.text
    explorer = Client(iotexplorer_client.IotexplorerClient, explorer_models, endpoint, key)
    get = Client(iotexplorer_client.IotexplorerClient, explorer_models, endpoint, key, get=True)
    hub = Client(iotcloud_client.IotcloudClient, hub_models, endpoint, key)
    parts = [
        ("catalogue", lambda: catalogue(explorer, hub)),
        ("one device", lambda: one_device(explorer, hub, listens["mqtt"])),
        ("batch", lambda: batch(explorer, hub, get, key, endpoint)),
        ("products", lambda: products(explorer, hub, get)),
        ("errors", lambda: errors(explorer, hub, key, endpoint)),
    ]
    for name, run in parts:
        began = time.monotonic()
        run()
        print(f"vendor's clients: {name}, {time.monotonic() - began:.1f} s")


try:
    main()
finally:
    for process in STARTED:
        process.terminate()
        process.wait()
