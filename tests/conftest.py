"""What would make a test depend on where it runs: its proxies, its umask, its signals, and how hypothesis draws."""

import os
import signal

from hypothesis import HealthCheck, settings

for name in ("http_proxy", "https_proxy", "all_proxy"):  # all servers of the tests are on loopback
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)
os.umask(0o022)
for number in (signal.SIGINT, signal.SIGHUP):  # ignored in a shell's background job, and below `nohup`
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)  # still nothing here; but what is started has the default, not to ignore

settings.register_profile(
    "steady",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")  # the same examples everywhere; `--hypothesis-profile=default` draws others
