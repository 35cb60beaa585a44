--- What `generate` and `chat` share: the model and its tokenizer, the ids that end an answer, the
-- keys of sampling, text that appears as it grows.

local config = require("perilune.config")
local core = require("perilune.core")
local data = require("perilune.data")
local format = require("perilune.base.format")
local model_files = require("perilune.model")
local terminal = require("perilune.base.terminal")
local tokenizer = require("perilune.model.tokenizer")

local speaker = {}

speaker.template = {
  template = "auto",
  "how a message is put to the model: auto (as it was trained), none, plain, chatml, a .jinja file",
}
speaker.dtype = {
  dtype = "kept",
  "what the matrices are held in; kept: as the file has them",
  choices = { "kept", "float32", "bfloat16", "float16", "q8_0" },
}
speaker.precision = config.precision()[1]
speaker.tokenizer =
  { tokenizer = "", "folder or file of the tokenizer, when it is not the model's folder" }

--- The rows of sampling, with defaults of the command's own.
-- @tparam table defaults `temperature`, `top_p`
-- @treturn {table,...}
function speaker.sampling(defaults)
  return {
    { temperature = defaults.temperature, "0 takes the likeliest token each time", min = 0 },
    { top_k = 0, "only the k likeliest tokens; 0 is off", min = 0 },
    {
      top_p = defaults.top_p,
      "only the likeliest tokens that hold this probability",
      over = 0,
      max = 1,
    },
    {
      min_p = 0.0,
      "only tokens at least this likely, relative to the likeliest",
      min = 0,
      max = 1,
    },
    {
      prompt_lookup_num_tokens = 0,
      "tokens guessed ahead: faster where answers repeat the prompt, and the same; 0 is off",
      min = 0,
    },
    { seed = 0 },
  }
end

--- What became of tokens that were guessed ahead, in words; nil when none were.
-- @tparam Answers answers
-- @treturn ?string
function speaker.guesses(answers)
  if answers.drafted == 0 then return nil end
  local text = "%d of %d guessed tokens right, %.2f tokens a pass"
  local grown = answers.tokens:size(1)
  return text:format(answers.accepted, answers.drafted, grown / (grown - answers.accepted))
end

local function folder_of(path)
  return path:match("%.bin$") and (path:match("^(.*)/[^/]*$") or ".") or path
end

--- The model and the tokenizer of a command.
-- @tparam Config cfg
-- @tparam string path
-- @treturn ?Model
-- @treturn Tokenizer|string what is wrong
function speaker.load(cfg, path)
  local model, message = model_files.load(path, {
    dtype = cfg.dtype,
    precision = cfg.precision,
  })
  if not model then
    return nil, message
  elseif model.config.scalar_head then
    local text = "%s scores answers and writes none: its head gives one number"
    return nil, text:format(path)
  end
  local tok
  tok, message = tokenizer.load(cfg.tokenizer ~= "" and cfg.tokenizer or folder_of(path))
  if not tok then return nil, message .. "; --tokenizer PATH names another" end
  return model, tok
end

--- The ids that end an answer. A beginning token inside an answer is where the next document
-- begins.
-- @tparam Tokenizer tok
-- @tparam ?table template
-- @treturn {integer,...}
function speaker.stops(tok, template)
  local stops = (template or tok.eos_id) and data.stop_ids(tok, template) or {}
  if tok.bos_id ~= tok.eos_id then stops[#stops + 1] = tok.bos_id end
  return stops
end

--- The text of an answer. After nothing but a beginning token the answer is a text of its own, so
-- that it starts without the blank that separates words.
-- @tparam Tokenizer tok
-- @tparam {integer,...} prompt
-- @tparam {integer,...} tokens
-- @tparam ?boolean echo the prompt as well
-- @treturn string
function speaker.text(tok, prompt, tokens, echo)
  local ids = tokens
  if echo or data.encode.is_bare(tok, prompt) then ids = data.join(prompt, tokens) end
  return tok:decode(ids, { skip_special = true })
end

--- What a terminal is given: no control characters of the model's.
-- @tparam string text
-- @treturn string
function speaker.shown(text) return terminal.is_tty(1) and format.safe(text) or text end

--- A hook that prints what is new after each token; incomplete characters come with the rest.
-- @tparam Tokenizer tok
-- @tparam {integer,...} prompt
-- @tparam ?boolean echo
-- @treturn function (tokens so far, whole) -> false: it ends no answer
function speaker.printer(tok, prompt, echo)
  local shown = 0
  return function(tokens, whole)
    local text = speaker.text(tok, prompt, tokens, echo)
    local to = whole and #text or #text:gsub("[\xC2-\xF4\xEF][\x80-\xBF]*$", "")
    if to > shown then
      io.stdout:write(speaker.shown(text:sub(shown + 1, to)))
      io.stdout:flush()
      shown = to
    end
    return false
  end
end

--- A command of the form `perilune NAME MODEL [--key value]`.
-- @tparam string name
-- @tparam string usage
-- @tparam function settings of the arguments to the config
-- @tparam function run (config, path) -> true, or nil and what is wrong
-- @tparam {string,...} args
-- @treturn integer the exit status
function speaker.command(name, usage, settings, run, args)
  local path = args[1]
  if not path or path:sub(1, 1) == "-" then
    settings(path and args or {}) -- --help leaves the program here, a wrong option is named
    io.stderr:write("perilune ", name, ": which model? usage: ", usage, "\n")
    return 1
  end
  local cfg = settings(table.move(args, 2, #args, 1, {}))
  if cfg.threads > 0 then core.threads(cfg.threads) end
  local ok, done, message = pcall(run, cfg, path)
  if ok and done then return 0 end
  message = tostring(ok and message or done):gsub("^%S+%.lua:%d+: ", "")
  io.stderr:write("perilune ", name, ": ", message, "\n")
  return 1
end

return speaker
