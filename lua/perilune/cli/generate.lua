--- `perilune generate MODEL`: text of a model on standard output, and nothing else.
--
-- The prompt is put to the model as it was trained: with its template, as a user's message that it
-- answers; without one as plain text that it goes on with (the beginning token before it, when the
-- tokenizer has one). --template says otherwise.
--
-- What is written is the answer without its end token; the prompt only with --echo. On a
-- terminal a single answer appears as it grows.
--
-- Several answers are parted by an empty line; --json writes one object a line instead:
-- {sample, text, finish_reason, tokens, logprobs}.

local config = require("perilune.config")
local core = require("perilune.core")
local data = require("perilune.data")
local format = require("perilune.base.format")
local generate = require("perilune.model.generate")
local json = require("perilune.base.json")
local model_files = require("perilune.model")
local terminal = require("perilune.base.terminal")
local tokenizer = require("perilune.model.tokenizer")

local usage = "perilune generate MODEL [--key value] [--flag]"

local function settings(args)
  return config {
    name = "generate",
    about = "text from a model folder, or from a llama2.c .bin file",
    usage = usage,
    args = args,
    without = {
      "output_dir",
      "max_steps",
      "logging_steps",
      "save_steps",
      "save_total_limit",
      "resume",
      "overwrite_output_dir",
      "nan_check",
      "quiet",
    },
    "Prompt",
    { prompt = "", "what to go on from; - reads it from standard input, less one final newline" },
    {
      template = "auto",
      "how a message is put to the model; auto: as it was trained",
      choices = { "auto", "none", "plain", "chatml" },
    },
    { tokenizer = "", "folder or file of the tokenizer, when it is not the model's folder" },
    "Sampling",
    { n = 1, "answers", min = 1 },
    { max_tokens = 256, "longest answer", min = 1, alias = "max_new_tokens" },
    { temperature = 1.0, "0 takes the likeliest token each time", min = 0 },
    { top_k = 0, "only the k likeliest tokens; 0 is off", min = 0 },
    { top_p = 1.0, "only the likeliest tokens that hold this probability", over = 0, max = 1 },
    {
      min_p = 0.0,
      "only tokens at least this likely, relative to the likeliest",
      min = 0,
      max = 1,
    },
    { stop = "", "a text that ends an answer and is left out" },
    { seed = 0 },
    "Output",
    { json = false, "a JSON object for each answer, one a line" },
    { echo = false, "the prompt before each answer" },
  }
end

local function fail(message, ...) return nil, message:format(...) end

local function folder_of(path)
  return path:match("%.bin$") and (path:match("^(.*)/[^/]*$") or ".") or path
end

--- What the model is given, and the ids that end an answer.
local function prompt_of(cfg, tok)
  local text = cfg.prompt
  if text == "-" then text = io.read("a"):gsub("\n$", "") end
  local template = data.template(cfg.template, tok)
  local prompt, message = data.prompt_ids(tok, template, { prompt = text })
  if not prompt then return fail("the prompt: %s; give --prompt TEXT", message) end
  -- A beginning token inside an answer is where the next document begins.
  local stop = { tok.eos_id, template and data.stop_id(tok, template) }
  if tok.bos_id and tok.bos_id ~= tok.eos_id then stop[#stop + 1] = tok.bos_id end
  return prompt, stop
end

--- The text of an answer. After nothing but a beginning token the answer is a text of its own, so
-- that it starts without the blank that separates words.
local function text_of(cfg, tok, prompt, tokens)
  local ids = tokens
  if cfg.echo or data.encode.is_bare(tok, prompt) then ids = data.join(prompt, tokens) end
  return tok:decode(ids, { skip_special = true })
end

-- What a terminal is given holds no control characters of the model's.
local function shown_text(text) return terminal.is_tty(1) and format.safe(text) or text end

local function cut(cfg, text)
  local at = cfg.stop ~= "" and text:find(cfg.stop, 1, true)
  return at and text:sub(1, at - 1) or text
end

--- A hook that prints what is new after each token. Incomplete characters come out with the rest.
local function printer(cfg, tok, prompt)
  local shown = 0
  local function show(tokens, whole)
    local text = text_of(cfg, tok, prompt, tokens)
    local to = whole and #text or #text:gsub("[\xC2-\xF4\xEF][\x80-\xBF]*$", "")
    if to > shown then
      io.stdout:write(shown_text(text:sub(shown + 1, to)))
      io.stdout:flush()
      shown = to
    end
    return false
  end
  return show
end

local function load(cfg, path)
  local model, message = model_files.load(path)
  if not model then
    return nil, message
  elseif model.config.scalar_head then
    return fail("%s scores answers and writes none: its head gives one number", path)
  end
  local tok
  tok, message = tokenizer.load(cfg.tokenizer ~= "" and cfg.tokenizer or folder_of(path))
  if not tok then return fail("%s; --tokenizer PATH names another", message) end
  return model, tok
end

local function write(cfg, tok, prompt, answers, streamed)
  for i, answer in ipairs(answers) do
    local text = cut(cfg, text_of(cfg, tok, prompt, answer.tokens))
    if cfg.json then
      io.stdout:write(
        json.encode {
          sample = answer.sample,
          text = text,
          finish_reason = answer.finish_reason,
          tokens = json.array(answer.tokens),
          logprobs = json.array(answer.logprobs),
        },
        "\n"
      )
    else
      io.stdout:write(i > 1 and "\n" or "", streamed and "" or shown_text(text), "\n")
    end
  end
end

local function run(cfg, path)
  if cfg.threads > 0 then core.threads(cfg.threads) end
  local model, tok = load(cfg, path)
  if not model then return nil, tok end
  local prompt, stop = prompt_of(cfg, tok)
  if not prompt then
    return nil, stop
  elseif model:context() and #prompt >= model:context() then
    return fail(
      "the prompt has %d tokens and the model a context of %d: no room for an answer",
      #prompt,
      model:context()
    )
  end
  local show = cfg.n == 1
    and not cfg.json
    and cfg.stop == ""
    and terminal.is_tty(1)
    and printer(cfg, tok, prompt)
  local answers = generate.generate(model, { prompt }, {
    samples = cfg.n,
    max_tokens = cfg.max_tokens,
    temperature = cfg.temperature,
    top_k = cfg.top_k,
    top_p = cfg.top_p,
    min_p = cfg.min_p,
    seed = cfg.seed,
    stop = stop,
    ends = show or nil,
    stop_strings = cfg.stop ~= "" and { cfg.stop } or nil,
    tokenizer = tok,
  })
  if show then show(answers[1].tokens, true) end
  write(cfg, tok, prompt, answers, show)
  return true
end

return function(args)
  local path = args[1]
  if not path or path:sub(1, 1) == "-" then
    settings(path and args or {}) -- --help leaves the program here, a wrong option is named
    io.stderr:write("perilune generate: which model? usage: ", usage, "\n")
    return 1
  end
  local cfg = settings(table.move(args, 2, #args, 1, {}))
  local ok, done, message = pcall(run, cfg, path)
  if ok and done then return 0 end
  message = tostring(ok and message or done):gsub("^%S+%.lua:%d+: ", "")
  io.stderr:write("perilune generate: ", message, "\n")
  return 1
end
