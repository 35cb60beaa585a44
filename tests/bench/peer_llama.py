"""The peer of `perilune bench decode`: llama.cpp by way of xllamacpp, with its own defaults.

    python3 peer_llama.py decode MODEL.gguf 1 128 1,504,3575 2

The last number is that of threads. Speaks the lines of lua/perilune/bench/worker.lua on standard
input and output. Times are llama.cpp's own, without those of its queue: the prompt's end with the
first token, and the rest counts from there, as the worker counts.
"""
import importlib.metadata
import json
import sys

import xllamacpp


def peak():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return {"bytes": int(line.split()[1]) * 1024}
    return {}


def main():
    path, tokens, threads = sys.argv[2], int(sys.argv[4]), int(sys.argv[6])
    ids = [int(n) for n in sys.argv[5].split(",")]
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = 1
    params.n_ctx = max(512, 64 * ((len(ids) + tokens + 63) // 64))
    server = xllamacpp.Server(params)

    def sample():
        answer = server.handle_completions({
            "prompt": ids, "n_predict": tokens, "temperature": 0, "top_k": 1,
            "samplers": ["top_k"], "ignore_eos": True, "cache_prompt": False})
        if "timings" not in answer:
            sys.exit(str(answer))
        times = answer["timings"]
        if times["prompt_n"] != len(ids) or times["predicted_n"] != tokens:
            sys.exit("it ran %d tokens of the prompt and made %d" % (
                times["prompt_n"], times["predicted_n"]))
        return {"seconds": times["predicted_ms"] / 1e3, "tokens": tokens - 1,
                "prompt_seconds": times["prompt_ms"] / 1e3, "prompt_tokens": len(ids)}

    def say(message):
        print(json.dumps(message), flush=True)

    sample()
    say({"ready": True, "threads": threads, "version": importlib.metadata.version("xllamacpp")})
    for line in sys.stdin:
        say({"sample": sample, "peak": peak}[line.strip()]())


main()
