"""What each word of a result means: the same for every engine, and printed in every report."""

from deployer.types.figures import ENOUGH_FOR_P99

VERSION = 1
"""Raised with every change of a meaning below: figures of two versions are not compared."""

KNEE = 0.9
ERRORS_STOP = 0.01

DEFINITIONS = {
    "TTFT": "request sent to the first chunk with text or reasoning text. Every request has a connection of its own, "
    "and connecting counts.",
    "E2E": "request sent to the last chunk; the end mark [DONE] does not count.",
    "TPOT": "(E2E - TTFT) / (output tokens - 1); undefined below two output tokens.",
    "ITL": "every gap between two chunks with text; percentiles over the gaps of all requests together.",
    "tokens": "as the server counts them in `usage` (stream_options.include_usage is asked for), never as chunks.",
    "percentiles": f"linear between the two nearest values. p99 needs n >= {ENOUGH_FOR_P99}, else it is not shown. The "
    "interval of a median is the 95 % one of order statistics, of a mean that of Student's t.",
    "latency": "one request after the other, prompts of one length, answers of one length, temperature 0, after three "
    "requests that do not count; the first of those is shown apart.",
    "batch": "N requests sent at once by the client, the next N when all have ended. Wall: first sent to last chunk.",
    "prompt": "one request at a time with prompts of growing length, in random order after the first round. Prefill "
    "tokens/s: (prompt tokens - tokens from the server's cache, where it tells them) / TTFT.",
    "users": "closed loop: each user asks again as soon as the answer has ended, which hides waiting that an open loop "
    "would show. The time until every user has a first token and after the last new request is left out where enough "
    "remains. Output tokens count in the moment their chunk arrives.",
    "goodput": "requests a second whose TTFT and TPOT both keep the SLO.",
    "knee": f"the fewest users that reach {KNEE:.0%} of the highest output tokens/s, if more bring no more.",
    "memory": "main memory of the server's processes (own and shared pages, mapped files once), and what NVML says "
    "they hold of each GPU. An engine that reserves memory at its start shows the reservation.",
    "prompts": "words in random order from a new seed each run, no two prompts in a row with the same first word, so "
    "that no cache of earlier prompts helps beyond the chat template's own beginning.",
    "clock": "one monotonic clock on the client; the figures hold what lies between client and server.",
}
