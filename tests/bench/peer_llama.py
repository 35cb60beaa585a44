"""The peer of `perilune bench` on GGUF files: llama.cpp by way of xllamacpp, with its own defaults.

    python3 peer_llama.py decode MODEL.gguf 1 128 1,504,3575 threads=2
    python3 peer_llama.py serve MODEL.gguf 16 64 16 threads=2
    python3 peer_llama.py prefill MODEL.gguf 1 1 512 threads=2

Speaks the lines of lua/perilune/bench/worker.lua on standard input and output. decode: times are
llama.cpp's own, without those of its queue: the prompt's end with the first token, and the rest
counts from there, as the worker counts. serve: as many requests at once as there are answers; the
clock goes from the first request to the last answer.
"""
import importlib.metadata
import json
import sys
import threading
import time

import xllamacpp


def memory(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def start(path, threads, parallel, tokens):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = parallel
    params.n_ctx = parallel * max(512 // parallel, 64 * ((tokens + 63) // 64))
    return xllamacpp.Server(params)


def complete(server, ids, tokens):
    answer = server.handle_completions({
        "prompt": ids, "n_predict": tokens, "temperature": 0, "top_k": 1,
        "samplers": ["top_k"], "ignore_eos": True, "cache_prompt": False})
    if "timings" not in answer:
        raise RuntimeError(str(answer))
    times = answer["timings"]
    if times["prompt_n"] != len(ids) or times["predicted_n"] != tokens:
        raise RuntimeError("it ran %d tokens of the prompt and made %d" % (
            times["prompt_n"], times["predicted_n"]))
    return times


def make_decode(path, _, tokens, prompt, threads):
    ids = [int(n) for n in prompt.split(",")]
    server = start(path, threads, 1, len(ids) + tokens)

    def sample():
        times = complete(server, ids, tokens)
        return {"seconds": times["predicted_ms"] / 1e3, "tokens": tokens - 1,
                "prompt_seconds": times["prompt_ms"] / 1e3, "prompt_tokens": len(ids)}

    return sample


def make_serve(path, size, tokens, prompt, threads):
    prompts = [[(1009 * i + 31 * t) % 30000 + 100 for t in range(int(prompt))]
               for i in range(size)]
    server = start(path, threads, size, int(prompt) + tokens)

    def sample():
        failures = []

        def one(ids):
            try:
                complete(server, ids, tokens)
            except RuntimeError as error:
                failures.append(str(error))

        workers = [threading.Thread(target=one, args=(ids,)) for ids in prompts]
        began, cpu = time.perf_counter(), time.process_time()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failures:
            sys.exit(failures[0])
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu,
                "tokens": size * tokens}

    return sample


def make_prefill(path, size, tokens, prompt, threads):
    serve = make_serve(path, size, tokens, prompt, threads)

    def sample():
        result = serve()
        result["tokens"] = size * int(prompt)
        return result

    return sample


def main():
    what, path, size, tokens, prompt = sys.argv[1:6]
    options = dict(word.split("=", 1) for word in sys.argv[6:])
    threads = int(options["threads"])
    make = {"decode": make_decode, "serve": make_serve, "prefill": make_prefill}[what]
    sample = make(path, int(size), int(tokens), prompt, threads)
    base = memory("VmRSS")

    def peak():
        return {"bytes": memory("VmHWM"), "base": base}

    def say(message):
        print(json.dumps(message), flush=True)

    sample()
    say({"ready": True, "threads": threads, "version": importlib.metadata.version("xllamacpp")})
    for line in sys.stdin:
        say({"sample": sample, "peak": peak}[line.strip()]())


main()
