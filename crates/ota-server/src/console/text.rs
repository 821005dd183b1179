//! All texts of the console, in one table. A text without a translation does not compile, and one
//! that no page uses is a warning.

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lang {
    En,
    Zh,
}

impl Lang {
    /// From the beginning of a language tag.
    pub(super) fn parse(tag: &str) -> Option<Self> {
        let first = tag.split(['-', ';']).next()?;
        match first.to_ascii_lowercase().as_str() {
            "en" => Some(Self::En),
            "zh" => Some(Self::Zh),
            _ => None,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The tag for readers of screens.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-Hans",
        }
    }

    pub(super) const fn t(self, text: T) -> &'static str {
        match self {
            Self::En => text.en(),
            Self::Zh => text.zh(),
        }
    }
}

macro_rules! texts {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        /// A text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum T {
            $($name,)*
        }

        impl T {
            const fn en(self) -> &'static str {
                match self { $(Self::$name => $en,)* }
            }

            const fn zh(self) -> &'static str {
                match self { $(Self::$name => $zh,)* }
            }
        }

        #[cfg(test)]
        const ALL: &[T] = &[$(T::$name,)*];
    };
}

texts! {
    Title: "Firmware updates", "固件升级";
    Skip: "Skip to the content", "跳到正文";
    Menu: "Main menu", "主菜单";
    ProductMenu: "Product", "产品";
    OtherLanguage: "中文", "English";
    SignIn: "Sign in", "登录";
    SignOut: "Sign out", "退出登录";
    SignedInAs: "Signed in as {}", "当前用户：{}";
    Name: "Name", "名称";
    Password: "Password", "密码";
    OldPassword: "Present password", "当前密码";
    NewPassword: "New password", "新密码";
    PasswordHint: "At least 10 characters", "至少 10 个字符";
    NoAdmin: "Nobody can sign in yet. Open the link that the cloud printed at its start, or whose file its log names. It is valid for an hour; “ota cloud admin link DIR” makes a new one.", "还没有可登录的用户。请打开服务启动时显示的链接（或日志中所指文件里的链接）。链接一小时内有效；可用 “ota cloud admin link DIR” 重新生成。";
    FirstStart: "Become an admin", "成为管理员";
    FirstHint: "Choose your name and your password. The code comes with the link.", "请设置用户名和密码。链接中包含代码。";
    JoinTitle: "Join", "加入";
    JoinHint: "You were invited. Choose your password. The code comes with the link.", "您已受邀。请设置密码。链接中包含代码。";
    LinkCode: "Code", "代码";
    NameHint: "1 to 48 small letters, digits or . - _ + @", "1 至 48 个小写字母、数字或 . - _ + @";
    Me: "My account", "我的账户";
    ChangePassword: "Change the password", "修改密码";
    ChangePasswordHint: "Your other sessions end.", "您的其他会话将结束。";
    PasswordChanged: "The password was changed.", "密码已修改。";
    MyRoles: "My roles", "我的角色";
    People: "People", "用户";
    Person: "Person", "用户";
    Invite: "Invite a person", "邀请用户";
    InviteAgain: "New invitation", "重新邀请";
    Invitation: "Invitation of {}", "{} 的邀请";
    InvitationHint: "Send this link to the person. It is valid for a day and shown only now.", "请把此链接发给该用户。链接一天内有效，仅显示一次。";
    Invited: "invited", "已邀请";
    NotJoined: "invitation has ended", "邀请已过期";
    Active: "active", "有效";
    Disabled: "disabled", "已停用";
    Disable: "Disable", "停用";
    Enable: "Enable", "启用";
    Remove: "Remove", "删除";
    RemoveSure: "Yes, remove it. This cannot be undone.", "是的，删除。此操作无法撤销。";
    Role: "Role", "角色";
    Roles: "Roles", "角色";
    SetRole: "Set the role", "设置角色";
    RoleNone: "none", "无";
    Viewer: "viewer: reads", "查看者：只读";
    Operator: "operator: updates devices", "操作员：升级设备";
    Publisher: "publisher: also uploads firmware", "发布者：还可上传固件";
    Admin: "admin: also people, keys and products", "管理员：还可管理用户、密钥和产品";
    ForProduct: "For product", "适用产品";
    AllProducts: "all products", "所有产品";
    Added: "Added", "添加时间";
    State: "State", "状态";
    Actions: "Actions", "操作";
    Keys: "API keys", "API 密钥";
    NoKeys: "There are no keys yet. A CI job or a program needs one.", "还没有密钥。CI 任务或程序需要密钥。";
    AddKey: "Make a key", "创建密钥";
    KeyMade: "The key {}", "密钥 {}";
    KeyHint: "Keep it now: it is not shown again.", "请立即保存：之后不再显示。";
    KeyId: "Id", "标识";
    Settings: "Settings", "设置";
    HowItRuns: "How this cloud runs", "运行方式";
    SettingsHint: "These were given when the cloud was started. Options of ota cloud serve change them.", "这些是启动时的设置，可用 ota cloud serve 的选项更改。";
    MqttAddress: "Devices connect to", "设备连接地址";
    Broker: "Broker", "消息代理";
    HttpAddress: "Firmware server", "固件服务器";
    PublicUrl: "Firmware URLs begin with", "固件 URL 前缀";
    ApiAddress: "API and console", "API 与控制台";
    ApiPublicUrl: "Upload URLs begin with", "上传 URL 前缀";
    UsesTls: "TLS", "TLS";
    StateOnDisk: "Its state is on a disk", "状态保存在磁盘上";
    AnyDevice: "Accepts unknown devices", "接受未知设备";
    OldSignatures: "Accepts the vendor's old signatures", "接受旧版签名";
    OpenMetrics: "Metrics without a key", "无需密钥即可查看指标";
    TrustedProxies: "Trusted proxies", "受信任的代理数";
    MaxConnections: "Most connections of devices", "设备连接数上限";
    KeepEvents: "Events are kept for", "事件保留时间";
    MaxEvents: "Most events", "事件数上限";
    KeepAudit: "The audit is kept for", "审计保留时间";
    UpdateTimeout: "A silent update ends after", "升级无响应超时";
    UrlLife: "A firmware URL is valid for", "固件 URL 有效期";
    Yes: "yes", "是";
    No: "no", "否";
    Days: "{} days", "{} 天";
    Seconds: "{} seconds", "{} 秒";
    Webhooks: "Webhooks", "Webhook";
    NoWebhooks: "There are no webhooks. One sends events to a URL of yours.", "还没有 Webhook。它会将事件发送到您的 URL。";
    AddWebhook: "Add a webhook", "添加 Webhook";
    Url: "URL", "URL";
    UrlHint: "https, with a certificate of a public CA", "https，使用公共 CA 的证书";
    EventKinds: "Only these kinds of events, one per line; all if it is empty", "仅这些事件类型，每行一个；留空表示全部";
    TestWebhook: "Send a test", "发送测试";
    HookOff: "off", "已关闭";
    HookHint: "The secret of its signatures. Keep it now: it is not shown again.", "签名密钥。请立即保存：之后不再显示。";
    HookAnswered: "The receiver answered with status {}.", "接收方返回状态 {}。";
    HookFailed: "The test failed: {}", "测试失败：{}";
    Audit: "Audit", "审计";
    AuditHint: "Who changed what. The newest line comes first.", "谁更改了什么，最新的在最前。";
    Time: "Time (UTC)", "时间（UTC）";
    Who: "Who", "谁";
    What: "What", "操作";
    Product: "Product", "产品";
    Subject: "Subject", "对象";
    Older: "Older", "更早";
    NextPage: "Next page", "下一页";
    FirstPage: "First page", "首页";
    Products: "Products", "产品";
    NoProducts: "There are no products yet. Make the first one, then add devices and upload a firmware.", "还没有产品。请先创建产品，然后添加设备并上传固件。";
    NoProductsYours: "No product is yours yet. Ask an admin for a role.", "您还没有可用的产品。请向管理员申请角色。";
    AddProduct: "Make a product", "创建产品";
    ProductId: "Product id", "产品 ID";
    ProductIdHint: "As in the devices' configuration, for example TESTPROD01", "与设备配置中的一致，例如 TESTPROD01";
    ForPeople: "Name for people", "显示名称";
    Description: "Description", "描述";
    RemoveProduct: "Remove the product", "删除产品";
    RemoveProductHint: "Only a product without devices, firmware, keys and people can be removed.", "只有没有设备、固件、密钥和用户角色的产品才能删除。";
    Overview: "Overview", "概览";
    StepDevices: "Add devices", "添加设备";
    StepFirmware: "Upload a firmware", "上传固件";
    StepBatch: "Update devices in a batch", "批量升级设备";
    WhatFirst: "What to do", "操作步骤";
    Devices: "Devices", "设备";
    Device: "Device", "设备";
    NoDevices: "No device here yet. Add the first one below, or many with “ota cloud import”.", "还没有设备。请在下方添加，或用 “ota cloud import” 批量导入。";
    NoMatch: "No device matches.", "没有匹配的设备。";
    AddDevice: "Add a device", "添加设备";
    DeviceAdded: "The device {}", "设备 {}";
    SecretHint: "The device needs this secret. Keep it now: it is not shown again.", "设备需要此密钥。请立即保存：之后不再显示。";
    Secret: "Secret", "密钥";
    Search: "Search", "搜索";
    BeginsWith: "Name begins with", "名称开头";
    Version: "Version", "版本";
    Versions: "Versions", "版本";
    Module: "Module", "模块";
    Tag: "Tag, as name:value", "标签，格式 名称:值";
    TaskState: "State of its task", "任务状态";
    Any: "any", "任意";
    Online: "online", "在线";
    Offline: "offline", "离线";
    Task: "Task", "任务";
    NoTask: "no task", "无任务";
    LastTask: "Its task", "任务";
    Target: "Target", "目标版本";
    Attempt: "Attempt", "尝试次数";
    Began: "Began", "开始时间";
    Reason: "Reason", "原因";
    WhyNothing: "Why nothing is offered", "为何没有推送";
    WhyNoLogin: "Why it cannot log in", "为何无法登录";
    RefusedLogins: "Refused logins", "被拒绝的登录";
    NoRefused: "No login was refused since the start.", "启动以来没有被拒绝的登录。";
    RefusedHint: "The last refusal of each client id since the start.", "启动以来每个客户端 ID 最近一次被拒绝的登录。";
    ClientId: "Client id", "客户端 ID";
    Address: "Address", "地址";
    Times: "Times", "次数";
    Tags: "Tags", "标签";
    TagsHint: "One per line, as name=value", "每行一个，格式 名称=值";
    SetTags: "Set the tags", "设置标签";
    UpdateDevice: "Update this device", "升级此设备";
    StartUpdate: "Start the update", "开始升级";
    NoReleased: "No released firmware yet.", "还没有已发布的固件。";
    CancelTask: "Cancel the task", "取消任务";
    CancelTaskHint: "The device is not told: an update that has begun there goes on.", "不会通知设备：已在设备上开始的升级会继续。";
    RetryTask: "Try again", "重试";
    ConfirmTask: "Confirm", "确认";
    PushTask: "Push the offer again", "再次推送";
    History: "History", "历史";
    NoHistory: "Nothing happened yet.", "还没有记录。";
    Event: "Event", "事件";
    Details: "Details", "详情";
    RemoveDevice: "Remove the device", "删除设备";
    RemoveDeviceHint: "It is disconnected, and its secret is removed.", "设备将被断开，其密钥将被删除。";
    Unreadable: "its row cannot be read", "其数据无法读取";
    NeverReported: "It has reported no version yet.", "尚未上报版本。";
    Firmware: "Firmware", "固件";
    NoFirmware: "No firmware here yet. Upload the first one.", "还没有固件。请上传。";
    Upload: "Upload a firmware", "上传固件";
    UploadButton: "Upload", "上传";
    File: "Image", "镜像文件";
    FileHint: "Choose a file, or drop it here", "选择文件或拖放到此处";
    Size: "Size", "大小";
    Digest: "Digest", "摘要";
    Draft: "draft", "草稿";
    Released: "released", "已发布";
    Withdrawn: "withdrawn", "已撤回";
    Release: "Release", "发布";
    Withdraw: "Withdraw", "撤回";
    AsDraft: "As a draft, which no device gets yet", "作为草稿，暂不推送";
    RemoveFirmware: "Remove the firmware", "删除固件";
    Bytes: "{} bytes", "{} 字节";
    Batches: "Batches", "批次";
    NoBatches: "No batch yet. A batch updates many devices.", "还没有批次。批次可升级多台设备。";
    NewBatch: "New batch", "新建批次";
    Batch: "Batch {}", "批次 {}";
    StepWho: "1. What and who", "1. 版本与设备";
    StepHow: "2. How", "2. 方式";
    StepLook: "3. Look and start", "3. 预览并开始";
    Back: "Back", "上一步";
    Next: "Next", "下一步";
    WhatVersion: "Which version", "目标版本";
    WhichDevices: "Which devices", "选择设备";
    OpenTasks: "Open tasks", "未完成的任务";
    Comment: "Comment", "备注";
    WavesHint: "The waves begin one after the other. An empty field means without limit.", "各波依次开始。留空表示不限制。";
    WaveNumber: "Wave {}", "第 {} 波";
    AddWave: "Add a wave", "添加一波";
    DropWave: "Remove this wave", "删除此波";
    WhoRest: "all others", "其余所有设备";
    WhoCount: "the first so many", "前若干台";
    WhoPercent: "a percentage of the batch", "批次的百分比";
    WhoTag: "those with a tag", "带标签的设备";
    WhoDevices: "these devices", "指定设备";
    WhoSome: "How many, percentage, or tag", "数量、百分比或标签";
    WhoSomeHint: "For example 10, or line:7", "例如 10，或 line:7";
    WhoNames: "Devices by name", "按名称指定设备";
    Pace: "Pace", "节奏";
    PaceMinute: "Most devices that start per minute", "每分钟最多开始的设备数";
    PaceOnce: "Most devices at once", "同时进行的最多设备数";
    PaceBytes: "Most bytes per second", "每秒最多字节数";
    Stop: "Stop rule", "停止规则";
    StopFailures: "Stop after so many failures", "失败达到此数时停止";
    StopShare: "Stop at this percentage of failures", "失败达到此百分比时停止";
    StopLeast: "… once so many devices have ended", "……且至少有此数量的设备已结束";
    StopSilent: "Stop at so many devices without progress", "无进展设备达到此数时停止";
    StopCancel: "A stop cancels what has not begun, instead of a pause", "停止时取消尚未开始的设备，而不是暂停";
    Gate: "Before the next wave", "下一波之前";
    GateWhen: "It begins when", "开始条件";
    GateAll: "every device of this wave has ended", "本波所有设备已结束";
    GateCount: "so many devices are updated", "升级成功达到数量";
    GatePercent: "this percentage is updated", "升级成功达到百分比";
    GateNeeds: "How many or percentage", "数量或百分比";
    GateSoak: "Then wait, in seconds", "随后等待（秒）";
    GatePerson: "Then a person opens it", "随后由人工开始";
    WhenItRuns: "When", "时间";
    Starts: "Starts (UTC)", "开始（UTC）";
    StartsHint: "Empty: at once", "留空：立即";
    Ends: "Ends (UTC)", "结束（UTC）";
    EndsHint: "Empty: when every device has ended", "留空：所有设备结束时";
    AddWindow: "Add a weekly window", "添加每周时段";
    DropWindow: "Remove this window", "删除此时段";
    WindowNumber: "Window {}", "时段 {}";
    Monday: "Monday", "星期一";
    Tuesday: "Tuesday", "星期二";
    Wednesday: "Wednesday", "星期三";
    Thursday: "Thursday", "星期四";
    Friday: "Friday", "星期五";
    Saturday: "Saturday", "星期六";
    Sunday: "Sunday", "星期日";
    WindowFrom: "From", "从";
    WindowUntil: "Until", "到";
    WindowOffset: "Distance from UTC", "与 UTC 的时差";
    WindowOffsetHint: "For example +08:00; empty is UTC", "例如 +08:00；留空为 UTC";
    EachDevice: "Each device", "每台设备";
    TimeLimit: "Time limit in seconds", "时限（秒）";
    TimeLimitHint: "60 to 3,600; empty is the service's", "60 至 3600；留空用服务的设置";
    Retries: "Attempts after a failure", "失败后的重试次数";
    RetriesHint: "0 to 10, by themselves", "0 至 10，自动进行";
    RetryPause: "Seconds before the first of them", "首次重试前的秒数";
    RetryPauseHint: "60 if empty; each pause is twice the one before", "留空为 60；之后每次加倍";
    Rehearsal: "Rehearsal", "演练";
    RehearsalHint: "The same rules, played with your devices as they are known: when the waves end, and when the stop rule stops the batch. Times are hours, minutes and seconds from the start. Nothing has begun.", "用已知的设备状况按相同规则推演：各波何时结束，停止规则何时触发。时间为从开始算起的时:分:秒。尚未开始任何升级。";
    IfFail: "If so many fail", "失败比例";
    WaveEnds: "Waves", "各波";
    WaveFromTo: "{}: {} to {}", "{}：{} 至 {}";
    WaveFrom: "{}: from {}, devices are left", "{}：从 {} 开始，仍有剩余设备";
    WaveNever: "{}: does not begin", "{}：不会开始";
    StopsIn: "stops in wave {} after {}", "在第 {} 波停止，用时 {}";
    NeverStops: "does not stop it", "不触发";
    LastEnds: "Last device", "最后一台";
    After: "after {}", "{} 后";
    DevicesLeft: "{} devices are left", "剩余 {} 台设备";
    PeakBytes: "Most bytes per second", "每秒最多字节数";
    NeverConnect: "Devices that are not expected to connect: {}", "预计不会连接的设备：{}";
    WrongMissing: "This is needed.", "此项必填。";
    WrongNumber: "This must be a number without signs.", "必须是不带符号的数字。";
    WrongRange: "This must be {} to {}.", "必须在 {} 与 {} 之间。";
    WrongTime: "This is no date and time.", "不是有效的日期和时间。";
    WrongOffset: "Write it as +08:00, at most 14 hours.", "格式如 +08:00，最多 14 小时。";
    WrongTag: "Write a tag as name:value.", "标签格式为 名称:值。";
    WrongName: "Line {} is no device name.", "第 {} 行不是有效的设备名称。";
    WrongNoCondition: "Give at least one condition, or choose all devices.", "请至少填写一个条件，或选择所有设备。";
    WrongEndsFirst: "It would end before it starts.", "结束早于开始。";
    WrongIsOver: "This time is over.", "此时间已过。";
    WrongWindow: "Choose at least one day, and a beginning before the end.", "请至少选择一天，且开始早于结束。";
    WrongNoDevices: "A wave needs at least one device.", "每波至少需要一台设备。";
    WrongPercent: "A percentage is 1 to 100.", "百分比为 1 至 100。";
    WrongZero: "This must be 1 or more.", "必须为 1 或更大。";
    WrongSoak: "At most 30 days: 2,592,000 seconds.", "最多 30 天：2592000 秒。";
    AllDevices: "All devices of the product", "产品的所有设备";
    ByFilter: "Devices that match", "匹配条件的设备";
    ByNames: "These devices, one name per line", "以下设备，每行一个名称";
    FromVersions: "That run one of these versions, one per line", "正在运行以下版本之一，每行一个";
    Dynamic: "Devices that match later join the batch", "以后匹配的设备也加入批次";
    DynamicNow: "Devices that match join this batch with their next report, until it ends or is cancelled.", "匹配的设备在下次上报时加入此批次，直到批次结束或被取消。";
    Override: "Cancel open tasks of these devices first", "先取消这些设备的未完成任务";
    AskFirst: "Each device waits for a confirmation", "每台设备需要确认";
    Preview: "Preview", "预览";
    PreviewCount: "Devices that match now: {}", "当前匹配的设备数：{}";
    StartBatch: "Start the batch", "开始批次";
    Total: "Devices", "设备数";
    Waiting: "waiting", "等待中";
    Updated: "updated", "已升级";
    Running: "running", "进行中";
    FailedCount: "failed", "失败";
    CancelBatch: "Cancel the batch", "取消批次";
    CancelBatchHint: "No device starts any more. Devices that have begun are not told and may go on.", "不再有设备开始。已开始的设备不会收到通知，可能继续升级。";
    CancelBatchSure: "Yes, cancel it.", "是的，取消。";
    BeginAgain: "Begin again", "重新开始";
    BeginAgainHint: "This makes a new batch with the same devices, waves and rules. It begins at once.", "将用相同的设备、分批和规则新建一个批次，并立即开始。";
    BeginAgainSure: "Yes, begin a new batch.", "是的，新建批次。";
    StoppedByRule: "Its stop rule has stopped this batch. Read why devices failed, then resume or cancel it.", "停止规则已停止此批次。请查看失败原因，然后继续或取消。";
    OverTime: "Over time", "随时间变化";
    CourseLabel: "The first {} (hours, minutes, seconds) of {} devices: updated from below, failed from above.", "最初的 {}（时、分、秒），共 {} 台设备：成功的自下而上，失败的自上而下。";
    Results: "Results as CSV", "结果（CSV）";
    Pause: "Pause", "暂停";
    Resume: "Resume", "继续";
    OpenWave: "Open the next wave", "开始下一波";
    RetryFailed: "Retry the failed devices", "重试失败的设备";
    Unstoppable: "Devices that have an offer and can no longer be stopped: {}", "已收到推送、无法再停止的设备：{}";
    Waves: "Waves", "分批";
    Wave: "Wave", "波次";
    FailuresByReason: "Failures by reason", "失败原因";
    ThisIsLive: "This page follows the batch by itself.", "此页面自动更新。";
    Reload: "Load again", "刷新";
    From: "From", "原版本";
    Progress: "Progress", "进度";
    Finished: "finished", "已结束";
    Cancelled: "cancelled", "已取消";
    Creating: "starting", "正在创建";
    Paused: "paused", "已暂停";
    StatusPending: "pending", "待推送";
    StatusConfirm: "waits for a confirmation", "等待确认";
    StatusDelivered: "offered", "已推送";
    StatusDownloading: "downloading", "下载中";
    StatusDownloaded: "downloaded", "已下载";
    StatusBurning: "installing", "安装中";
    StatusComplete: "updated", "升级成功";
    StatusFailed: "failed", "升级失败";
    StatusTimedOut: "timed out", "超时";
    NotPossible: "That is not possible", "无法执行";
    GoOn: "Go on to the products", "前往产品列表";
    ProblemForbidden: "Your role does not allow this.", "您的角色不允许此操作。";
    ProblemUnknown: "It does not exist, or it is not yours.", "不存在，或您无权访问。";
    ProblemExists: "It exists already.", "已存在。";
    ProblemInUse: "It is in use.", "正在使用中。";
    ProblemState: "Its present state does not allow this.", "当前状态不允许此操作。";
    ProblemConflict: "Somebody else changed it at the same time. This page shows the newer state.", "他人同时进行了更改。本页显示最新状态。";
    ProblemInvalid: "Something in the form is not right.", "表单内容有误。";
    ProblemTooLarge: "It is too large.", "内容过大。";
    ProblemTooMany: "Too many attempts: wait a little.", "尝试过多，请稍候。";
    ProblemNoKey: "This is not valid.", "验证无效。";
    ProblemFull: "There is no room for it.", "空间不足。";
    ProblemReplayed: "This form was sent before, with other content. Load the page again.", "此表单已用其他内容提交过。请刷新页面。";
    ProblemInternal: "The cloud has an error; its log has the cause.", "服务发生错误，原因见日志。";
    ProblemUnavailable: "The cloud cannot answer now. Nothing was changed.", "服务暂时不可用，未作任何更改。";
    Field: "Field: {}", "字段：{}";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No sentence is put together from parts, so the places for values are the same.
    #[test]
    fn every_text_has_the_same_places_in_both_languages() {
        for text in ALL {
            assert!(!text.en().is_empty() && !text.zh().is_empty(), "{text:?}");
            let places = |text: &str| text.matches("{}").count();
            assert_eq!(places(text.en()), places(text.zh()), "{text:?}");
        }
    }

    #[test]
    fn a_language_is_found_by_the_beginning_of_its_tag() {
        assert_eq!(Lang::parse("zh-CN"), Some(Lang::Zh));
        assert_eq!(Lang::parse("en;q=0.8"), Some(Lang::En));
        assert_eq!(Lang::parse("de"), None);
    }
}
