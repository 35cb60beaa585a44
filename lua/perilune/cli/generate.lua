--- `perilune generate MODEL [--key value]`: text of a model on standard output, and nothing else.
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
local data = require("perilune.data")
local generate = require("perilune.model.generate")
local json = require("perilune.base.json")
local speaker = require("perilune.cli.support.speaker")
local terminal = require("perilune.base.terminal")

local usage = "perilune generate MODEL [--key value] [--flag]"

local function settings(args)
  return config {
    name = "generate",
    about = "text from a model folder, or from a llama2.c .bin file",
    usage = usage,
    args = args,
    keep = { "seed", "threads" },
    "Prompt",
    { prompt = "", "what to go on from; - reads it from standard input, less one final newline" },
    speaker.template,
    speaker.tokenizer,
    speaker.dtype,
    speaker.precision,
    "Sampling",
    { n = 1, "answers", min = 1 },
    { max_tokens = 256, "longest answer", min = 1, alias = "max_new_tokens" },
    speaker.sampling { temperature = 1.0, top_p = 1.0 },
    { stop = "", "a text that ends an answer and is left out" },
    "Output",
    { json = false, "a JSON object for each answer, one a line" },
    { echo = false, "the prompt before each answer" },
  }
end

local function prompt_of(cfg, tok, template)
  local text = cfg.prompt
  if text == "-" then text = io.read("a"):gsub("\n$", "") end
  local valid, at = utf8.len(text)
  if not valid then return nil, ("the prompt is not UTF-8 at byte %d"):format(at) end
  local prompt, message = data.prompt_ids(tok, template, { prompt = text })
  if not prompt then return nil, ("the prompt: %s; give --prompt TEXT"):format(message) end
  return prompt
end

local function cut(cfg, text)
  local at = cfg.stop ~= "" and text:find(cfg.stop, 1, true)
  return at and text:sub(1, at - 1) or text
end

local function write(cfg, tok, prompt, answers, streamed)
  for i, answer in ipairs(answers) do
    local text = cut(cfg, speaker.text(tok, prompt, answer.tokens, cfg.echo))
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
      io.stdout:write(i > 1 and "\n" or "", streamed and "" or speaker.shown(text), "\n")
    end
  end
end

local function run(cfg, path)
  local model, tok = speaker.load(cfg, path)
  if not model then return nil, tok end
  local template = data.template(cfg.template, tok)
  local prompt, message = prompt_of(cfg, tok, template)
  if not prompt then
    return nil, message
  elseif model:context() and #prompt >= model:context() then
    local text = "the prompt has %d tokens and the model a context of %d: no room for an answer"
    return nil, text:format(#prompt, model:context())
  end
  local show = cfg.n == 1
    and not cfg.json
    and cfg.stop == ""
    and terminal.is_tty(1)
    and speaker.printer(tok, prompt, cfg.echo)
  local answers = generate.generate(model, { prompt }, {
    samples = cfg.n,
    max_tokens = cfg.max_tokens,
    temperature = cfg.temperature,
    top_k = cfg.top_k,
    top_p = cfg.top_p,
    min_p = cfg.min_p,
    seed = cfg.seed,
    prompt_lookup_num_tokens = cfg.prompt_lookup_num_tokens,
    stop = speaker.stops(tok, template),
    ends = show or nil,
    stop_strings = cfg.stop ~= "" and { cfg.stop } or nil,
    tokenizer = tok,
  })
  if show then show(answers[1].tokens, true) end
  write(cfg, tok, prompt, answers, show)
  local guesses = speaker.guesses(answers)
  if guesses then io.stderr:write("perilune generate: ", guesses, "\n") end
  return true
end

return function(args) return speaker.command("generate", usage, settings, run, args) end
