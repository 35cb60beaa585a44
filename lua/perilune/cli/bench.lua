--- `perilune bench [NAME] [--key value]`: speed, as ratios to PyTorch or llama.cpp where they are.
--
--     perilune bench all          the table: training, LoRA, generation, GGUF files, the loss over
--                                 a head, an iteration of PPO; --row NAME,NAME for some of it
--     perilune bench train        training rows alone: forward, backward and AdamW, tokens/s
--     perilune bench generate     generation rows alone, tokens/s
--     perilune bench decode MODEL.gguf...
--                                 one answer, greedy, beside llama.cpp: a prompt's tokens/s and
--                                 the answer's; --peer_python PATH has the package xllamacpp
--     perilune bench ops          the ops that matter at these shapes, milliseconds and GFLOP/s
--     perilune bench gemm         own matrix products: in bfloat16 beside float32, and beside
--                                 OpenBLAS's by kind of processor
--     perilune bench attention    attention in float32 and bfloat16, of training and of decoding
--     perilune bench kept         products with kept weights beside float32 ones
--     perilune bench scaling      time and memory against tokens, length, vocabulary, width,
--                                 answers and threads, with exponents; --page FILE draws them,
--                                 --row NAME,NAME for some of the curves
--     perilune bench tokenizer    MB/s of one core for --tokenizer PATH on --text FILE
--     perilune bench startup      milliseconds of `perilune -e ''`
--
-- Nothing is asserted: figures depend on the machine and on what else it does. See
-- perilune.bench.duel on how pairs of samples are taken.

local bench = require("perilune.bench")
local bench_rows = require("perilune.cli.support.bench_rows")
local bench_scaling = require("perilune.cli.support.bench_scaling")
local config = require("perilune.config")
local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local host = require("perilune.host")
local lfs = require("lfs")
local nearest = require("perilune.base.nearest")
local processor = require("perilune.base.processor")
local stats = require("perilune.base.stats")
local system = core.system
local tokenizer = require("perilune.model.tokenizer")

local names = {
  "all",
  "train",
  "generate",
  "decode",
  "scaling",
  "ops",
  "gemm",
  "attention",
  "kept",
  "tokenizer",
  "startup",
}

local PROMPT <const> = "The harbour wakes before the sun does. Boats come in with the tide, gulls "
  .. "follow them to the quay, and the first bread of the day is sold from a cart beside"

local function settings(args)
  return config {
    name = "bench",
    about = "speed, as ratios",
    usage = "perilune bench [NAME] [--key value]; NAME is all, train, generate, "
      .. "decode MODEL.gguf..., scaling, ops, gemm, attention, kept, tokenizer or startup",
    args = args,
    keep = { "threads", "quiet" },
    { samples = 5, "samples of each side", min = 1 },
    { model = "all", "which of the shapes", choices = { "all", "l260k", "l15m", "gpt2" } },
    {
      row = {},
      "of `bench all` and `scaling`: only these rows: name,name; an unknown one lists them",
    },
    { row_seconds = 60, "no sample of a row begins later than so many seconds", min = 1 },
    { page = "", "of `bench scaling`: HTML file that gets the curves" },
    { smollm2 = "", "of `bench all`: SmolLM2-135M as a GGUF file" },
    { gemma = "", "of `bench all`: Gemma 3 270M as a GGUF file" },
    {
      profile = false,
      "tell where the time of each row goes; a path: and write a Chrome trace there",
      type = "string",
      flag = "table",
    },
    { peer = true, "measure PyTorch (decode: llama.cpp) beside it, where there is one" },
    { peer_python = "/usr/bin/python3", "the Python that has torch, and xllamacpp for GGUF files" },
    { peer_compile = true, "try PyTorch compiled too, and take the faster" },
    { prompt = "", "of `bench decode`: the text to go on from; empty: one of 32 words" },
    { tokens = 128, "of `bench decode`: how many go on from it", min = 2 },
    { tokenizer = "", "of `bench tokenizer`: a model folder or a tokenizer's file" },
    { text = "", "of `bench tokenizer`: the file whose text is encoded" },
    { json = "", "file that gets every figure" },
  }
end

local function note(cfg, text, ...)
  if not cfg.quiet then io.stderr:write(text:format(...), "\n") end
end

local function rate(x) return format.number(x, 4) end

local function spread(ratio) return ("%.2f (%.2f to %.2f)"):format(ratio[1], ratio[2], ratio[3]) end

local function measure(cfg, case, title)
  note(cfg, "%s ...", title)
  local trace = cfg.profile and cfg.profile ~= "table" and cfg.profile or nil
  return bench.duel.run(case, {
    samples = cfg.samples,
    python = cfg.peer and cfg.peer_python or nil,
    compile = cfg.peer_compile,
    seconds = cfg.row_seconds,
    profile = case.what ~= "decode" or cfg.profile,
    trace = trace,
    note = function(i, mine, theirs)
      local text = theirs and ", %s %s" or ""
      note(
        cfg,
        "  %d: %s tokens/s" .. text,
        i,
        rate(mine.tokens / mine.seconds),
        bench.duel.peer_name(case),
        theirs and rate(theirs.tokens / theirs.seconds)
      )
    end,
  })
end

--- What was measured, how, on what; why there was no peer.
local function print_circumstances(cfg, results, numbers)
  local first, witness, why = results[1], {}, nil
  for _, result in ipairs(results) do
    table.move(result.witness, 1, #result.witness, #witness + 1, witness)
    why = result.no_peer or why
  end
  print(
    (
      "\n%s, %d threads, %d samples of each side by turns: medians; ratios of neighbours, "
      .. "their median, least and greatest; %s kernels%s"
    ):format(
      numbers,
      first.ours.process.threads,
      cfg.samples,
      first.ours.process.isa,
      first.peer
          and (", %s %s"):format(bench.duel.peer_name(first.case), first.peer.process.version)
        or ""
    )
  )
  print(
    (
      "%s; witness, float32 in registers before each sample: median %.0f GFLOP/s, "
      .. "%.0f to %.0f"
    ):format(
      select(2, processor.read()),
      stats.median(witness),
      math.min(table.unpack(witness)),
      math.max(table.unpack(witness))
    )
  )
  if why then print("no peer: " .. why) end
end

-- A row's ratios, as soon as they are known: a table of hours is not lost with its last row.
local function note_ratios(cfg, result)
  if not result.ratio then return end
  note(
    cfg,
    "  ratio %s, of CPU time %.2f, of memory %.2f",
    spread(result.ratio),
    result.cpu_ratio[1],
    result.memory_ratio
  )
end

--- Rows of the table against their peers, and where the time goes; `keep` is told after each.
local function compare(cfg, rows, keep)
  local results = {}
  for i, row in ipairs(rows) do
    local why = bench_rows.missing(row)
    if why then
      note(cfg, "%s: %s", row.name, why)
      results[i] = { case = row, left_out = why }
    else
      results[i] = measure(cfg, row, row.name)
      note_ratios(cfg, results[i])
      if cfg.profile then print(("\n%s\n%s"):format(row.name, results[i].limits.text)) end
    end
    keep(results)
  end
  local measured = {}
  for _, result in ipairs(results) do
    if not result.left_out then measured[#measured + 1] = result end
  end
  print(bench_rows.table(results))
  if measured[1] then print_circumstances(cfg, measured, "tokens/s") end
  return results
end

-- The case of a file; or nil and why it cannot be run.
local function decode_case(cfg, path)
  local tok, message = tokenizer.load(path)
  if not tok then return nil, message end
  local ids = tok:encode(cfg.prompt ~= "" and cfg.prompt or PROMPT)
  if tok.adds_bos then table.insert(ids, 1, tok.bos_id) end
  if #ids == 0 then return nil, "the prompt is empty: give --prompt TEXT" end
  return bench.workloads.decode(path, cfg.tokens, ids)
end

--- One answer from GGUF files against llama.cpp: the prompt apart from what follows.
local function decode(cfg, paths)
  if #paths == 0 then error("bench decode wants MODEL.gguf", 0) end
  local cases, results, rows = {}, {}, {}
  for i, path in ipairs(paths) do
    local message
    cases[i], message = decode_case(cfg, path)
    if not cases[i] then error(message, 0) end
  end
  for i, case in ipairs(cases) do
    local title = paths[i]:match("[^/]*$")
    local result = measure(cfg, case, title)
    results[i] = result
    local ours, peer = result.ours, result.peer
    local _, commas = case.prompt:gsub(",", "")
    local function row(name, key, ratio)
      rows[#rows + 1] = {
        name,
        rate(ours[key]),
        peer and rate(peer[key]) or "-",
        peer and spread(ratio) or "-",
        format.bytes(ours.peak),
        peer and format.bytes(peer.peak) or "-",
      }
    end
    row(("%s, prompt of %d"):format(title, commas + 1), "prompt_rate", result.prompt_ratio)
    row(("%s, %d after it"):format(title, cfg.tokens), "rate", result.ratio)
  end
  print(format.columns(rows, {
    head = { "tokens/s", "ours", "llama.cpp", "ratio", "peak", "llama.cpp" },
    align = { "left", "right", "right", "right", "right", "right" },
  }))
  print_circumstances(cfg, results, "weights as the file has them, greedy")
  return results
end

--- One text encoded and decoded, the whole each time.
local function encoding(cfg)
  if cfg.tokenizer == "" or cfg.text == "" then
    error("bench tokenizer wants --tokenizer PATH and --text FILE", 0)
  end
  local tok, message = tokenizer.load(cfg.tokenizer)
  if not tok then error(message, 0) end
  local text = files.read(cfg.text)
  if not text then error(("%s: cannot be read"):format(cfg.text), 0) end
  local ids = tok:encode(text)
  local function rate_of(call, ...)
    local seconds = {}
    for i = 1, math.max(5, cfg.samples) do
      collectgarbage()
      local began = system.monotonic()
      call(tok, ...)
      seconds[i] = system.monotonic() - began
    end
    return #text / 1e6 / stats.median(seconds)
  end
  local result = {
    tokenizer = tostring(tok),
    bytes = #text,
    ids = #ids,
    encode_mb_s = rate_of(tok.encode, text),
    decode_mb_s = rate_of(tok.decode, ids),
  }
  print(
    ("%s: encode %s MB/s, decode %s MB/s, %d bytes in %d ids"):format(
      result.tokenizer,
      rate(result.encode_mb_s),
      rate(result.decode_mb_s),
      result.bytes,
      result.ids
    )
  )
  return result
end

local function startup(cfg)
  local seconds = {}
  for i = 1, math.max(20, cfg.samples) do
    local began = system.monotonic()
    local how, code = system.spawn { host.executable, "-e", "" }
    seconds[i] = system.monotonic() - began
    assert(how == "exit" and code == 0, "perilune -e '' failed")
  end
  local result = {
    median_ms = 1e3 * stats.median(seconds),
    least_ms = 1e3 * math.min(table.unpack(seconds)),
    samples = #seconds,
  }
  print(
    ("perilune -e '': median %.1f ms, least %.1f ms, %d samples"):format(
      result.median_ms,
      result.least_ms,
      result.samples
    )
  )
  return result
end

local function ops(cfg)
  local rows, results = {}, bench.op_times.run(cfg.samples)
  for i, row in ipairs(results) do
    rows[i] = {
      row.name,
      ("%.3f"):format(row.forward_ms),
      row.backward_ms and ("%.3f"):format(row.backward_ms) or "-",
      row.flops and ("%.1f"):format(row.forward_gflops) or "-",
      row.backward_gflops and ("%.1f"):format(row.backward_gflops) or "-",
    }
  end
  print(format.columns(rows, {
    head = { "op", "forward ms", "backward ms", "GFLOP/s", "GFLOP/s" },
    align = { "left", "right", "right", "right", "right" },
  }))
  print(("\n%d threads, median of %d"):format(core.threads(), cfg.samples))
  return results
end

--- "31.2, 1.75 (1.60 to 1.92)": GFLOP/s of our own products, and how much faster OpenBLAS's are.
local function of_openblas(one)
  return ("%.3g"):format(one.own),
    ("%.2f (%.2f to %.2f)"):format(one.ratio, one.least, one.greatest)
end

local function gemm(cfg)
  local results = bench.products.run(
    cfg.samples,
    function(kind)
      note(cfg, "%s ...", kind.isa and kind.isa .. ", " .. kind.core or "this processor")
    end
  )
  for _, result in ipairs(results) do
    local rows = {}
    for i, row in ipairs(result.rows) do
      local own32, ratio32 = of_openblas(row.float32)
      local own64, ratio64 = of_openblas(row.float64)
      rows[i] = { row.name, row.m, row.n, row.k, own32, ratio32, own64, ratio64 }
    end
    print(
      ("own kernels %s, OpenBLAS's %s, %d threads; auto: float32 %s, float64 %s"):format(
        result.isa,
        result.core,
        result.threads,
        result.auto.float32,
        result.auto.float64
      )
    )
    print(format.columns(rows, {
      head = {
        "product",
        "m",
        "n",
        "k",
        "float32 GFLOP/s",
        "OpenBLAS is x faster",
        "float64 GFLOP/s",
        "OpenBLAS is x faster",
      },
      align = { "left", "right", "right", "right", "right", "right", "right", "right" },
    }))
    print()
  end
  print(
    (
      "%d samples of each side by turns: medians; ratios of neighbours, their median, least "
      .. "and greatest"
    ):format(cfg.samples)
  )
  return results
end

local function precisions(cfg)
  note(cfg, "bfloat16 ...")
  local result, rows = bench.products.precisions(cfg.samples), {}
  for i, row in ipairs(result.rows) do
    rows[i] = {
      row.step and "step" or "x Wᵀ",
      row.m,
      row.n,
      row.k,
      ("%.0f"):format(row.float32),
      ("%.0f"):format(row.bf16),
      ("%.0f %%"):format(100 * row.bf16 / result.limit),
      ("%.0f %%"):format(100 * row.best / result.limit),
      ("%.2f (%.2f to %.2f)"):format(row.ratio, row.least, row.greatest),
    }
  end
  print(
    ("bfloat16 by the rule %s%s, %d threads, at most %.0f GFLOP/s in registers"):format(
      result.rule,
      result.native and "" or " (emulated)",
      result.threads,
      result.limit
    )
  )
  print(format.columns(rows, {
    head = {
      "product",
      "m",
      "n",
      "k",
      "float32 GFLOP/s",
      "bf16",
      "of the limit",
      "at best",
      "faster",
    },
    align = { "left", "right", "right", "right", "right", "right", "right", "right", "right" },
  }))
  print()
  return result
end

--- "31.2 (7 %)": a figure, and its share of the limit.
local function of_limit(value, limit, unit)
  return ("%.3g (%.0f %%)"):format(value, 100 * value * unit / limit)
end

local function attention_shape(shape)
  local text = ("%d x %d, %d/%d heads of %d"):format(
    shape.b,
    shape.t,
    shape.heads,
    shape.kv_heads,
    shape.d
  )
  return shape.window and text .. ", window " .. shape.window or text
end

local function attention(cfg)
  local result, rows, steps = bench.attention_times.run(cfg.samples), {}, {}
  local limits = result.limits
  for i, row in ipairs(result.training) do
    rows[i] = {
      attention_shape(row.shape),
      of_limit(row.float32.forward, limits.float32, 1e9),
      of_limit(row.float32.backward, limits.float32, 1e9),
      of_limit(row.bf16.forward, limits.bfloat16, 1e9),
      of_limit(row.bf16.backward, limits.bfloat16, 1e9),
    }
  end
  print(format.columns(rows, {
    head = { "training: GFLOP/s", "float32", "backward", "bf16", "backward" },
    align = { "left", "right", "right", "right", "right" },
  }))
  for i, row in ipairs(result.decoding) do
    steps[i] = {
      attention_shape(row.shape),
      ("%.3f"):format(1e3 * row.float32.seconds),
      of_limit(row.float32.rate, limits.read, 1e9),
      ("%.3f"):format(1e3 * row.bf16.seconds),
      of_limit(row.bf16.rate, limits.read, 1e9),
    }
  end
  print()
  print(format.columns(steps, {
    head = { "a step of decoding: ms, GB/s of cache", "float32", "", "bf16", "" },
    align = { "left", "right", "right", "right", "right" },
  }))
  print(
    ("\nin brackets of the machine's limits; rule %s, %d threads, median of %d"):format(
      result.rule,
      result.threads,
      cfg.samples
    )
  )
  return result
end

local function kept(cfg)
  local results, rows = bench.kept_products.run(cfg.samples), {}
  for i, row in ipairs(results) do
    rows[i] = {
      row.dtype,
      row.m,
      ("%.2f"):format(row.seconds * 1e3),
      ("%.1f"):format(row.bytes / row.seconds / 1e9),
      ("%.2f (%.2f to %.2f)"):format(row.ratio, row.least, row.greatest),
    }
  end
  print(format.columns(rows, {
    head = { "x Wᵀ, W 16384 x 768", "rows of x", "ms", "GB/s of W", "times float32's" },
    align = { "left", "right", "right", "right", "right" },
  }))
  print(
    ("%s, %d threads; %d samples by turns: medians"):format(core.isa(), core.threads(), cfg.samples)
  )
  return results
end

-- Figures that take minutes are not measured for a file that cannot be written.
local function check_place(key, path)
  local folder = path:match("^(.*)/[^/]*$") or "."
  if path ~= "" and lfs.attributes(path, "mode") == "directory" then
    error(("%s: %s is a folder, not a file"):format(key, path), 0)
  elseif lfs.attributes(folder ~= "" and folder or "/", "mode") ~= "directory" then
    error(("%s: %s cannot be written: there is no folder %s"):format(key, path, folder), 0)
  end
end

local function run(cfg, name, paths)
  local all = { threads = core.threads(), isa = core.isa(), version = host.version }
  if name == "ops" then
    all.ops = ops(cfg)
  elseif name == "gemm" then
    all.bf16 = precisions(cfg)
    all.gemm = gemm(cfg)
  elseif name == "attention" then
    all.attention = attention(cfg)
  elseif name == "kept" then
    all.kept = kept(cfg)
  elseif name == "tokenizer" then
    all.tokenizer = encoding(cfg)
  elseif name == "decode" then
    all.cases = decode(cfg, paths)
  elseif name == "scaling" then
    all.curves = bench_scaling.run(cfg, function(text) note(cfg, "%s", text) end)
  elseif name == "startup" then
    all.startup = startup(cfg)
  else
    all.cases = compare(cfg, bench_rows.chosen(cfg, name), function(results)
      all.cases = results
      if cfg.json ~= "" then assert(files.write_json(cfg.json, all)) end
    end)
  end
  if cfg.json ~= "" then assert(files.write_json(cfg.json, all)) end
end

-- The files among the arguments of `bench decode`, which go out of `args`.
local function take_models(args)
  local paths, rest = {}, {}
  for _, arg in ipairs(args) do
    local list = arg:find("%.gguf$") and arg:sub(1, 1) ~= "-" and paths or rest
    list[#list + 1] = arg
  end
  return paths, rest
end

return function(args)
  local name = "all"
  if args[1] and args[1]:sub(1, 1) ~= "-" then name = table.remove(args, 1) end
  local known = false
  for _, one in ipairs(names) do
    known = known or one == name
  end
  if not known then
    io.stderr:write(
      ("perilune bench: nothing is named '%s'%s\nnames: %s\n"):format(
        name,
        nearest.hint(name, names),
        table.concat(names, " ")
      )
    )
    return 1
  end
  local paths
  if name == "decode" then
    paths, args = take_models(args)
  end
  local cfg = settings(args)
  check_place("json", cfg.json)
  check_place("page", cfg.page)
  if cfg.threads > 0 then
    core.threads(cfg.threads)
    system.setenv("OMP_NUM_THREADS", tostring(cfg.threads)) -- for the workers
  end
  run(cfg, name, paths)
  return 0
end
