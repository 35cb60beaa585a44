--- `perilune chat MODEL [--key value]`: a conversation with a model in the terminal.
--
-- What is typed is put to the model with its chat template, all turns so far before it; what the
-- last turn left in the cache is not run again. A model without a template goes on from each line
-- by itself. When the conversation outgrows the context its earliest turns are left out, and said.
--
-- Ctrl-C ends an answer and keeps what is there; Ctrl-D leaves. Lines that begin with / are
-- commands: /help lists them. Without a terminal each line of standard input is a turn, and only
-- the answers are written.

local config = require("perilune.config")
local core = require("perilune.core")
local data = require("perilune.data")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local generate = require("perilune.model.generate")
local host = require("perilune.host")
local json = require("perilune.base.json")
local lineedit = require("perilune.lineedit")
local speaker = require("perilune.cli.support.speaker")
local terminal = require("perilune.base.terminal")

local usage = "perilune chat MODEL [--key value] [--flag]"

local function settings(args)
  return config {
    name = "chat",
    about = "talk with a model",
    usage = usage,
    args = args,
    keep = { "seed", "threads" },
    "Conversation",
    { system = "", "system message that every conversation begins with" },
    speaker.template,
    speaker.tokenizer,
    speaker.dtype,
    speaker.precision,
    "Sampling",
    { max_tokens = 512, "longest answer", min = 1, alias = "max_new_tokens" },
    speaker.sampling { temperature = 0.7, top_p = 0.95 },
  }
end

-- Settings that /set changes.
local LIVE = {
  "max_tokens",
  "temperature",
  "top_k",
  "top_p",
  "min_p",
  "seed",
  "prompt_lookup_num_tokens",
}

for _, name in ipairs(LIVE) do
  LIVE[name] = true
end

local Chat = {}
Chat.__index = Chat

local function say(text, ...) io.stderr:write(text:format(...), "\n") end

function Chat:reset()
  self.messages = {}
  if self.cfg.system ~= "" then
    self.messages[1] = { role = "system", content = self.cfg.system }
  end
end

--- Takes the earliest question and its answer out; false when only the last question is left.
function Chat:forget_earliest()
  local first = self.messages[1] and self.messages[1].role == "system" and 2 or 1
  if #self.messages - first < 2 then return false end
  table.remove(self.messages, first)
  if self.messages[first].role == "assistant" then table.remove(self.messages, first) end
  return true
end

--- Token ids that stand before the answer; earliest turns go when they leave no room for it.
function Chat:prompt()
  local context, dropped = self.model:context(), 0
  while true do
    local last = self.messages[#self.messages]
    local row = self.template and { messages = self.messages } or { prompt = last.content }
    local ids, message = data.prompt_ids(self.tok, self.template, row)
    if not ids then return nil, message end
    local room = context and context - #ids or self.cfg.max_tokens
    local wanted = math.min(self.cfg.max_tokens, context and context // 4 or 1)
    if room >= wanted or not self:forget_earliest() then
      if room < 1 then
        local text = "the message has %d tokens and the model a context of %d: say it shorter"
        return nil, text:format(#ids, context)
      elseif dropped > 0 then
        say("  (the context of %d tokens is full: %d earlier turns left out)", context, dropped)
      end
      return ids, math.min(self.cfg.max_tokens, room)
    end
    dropped = dropped + 1
  end
end

--- Asks the model about the messages, shows its answer as it grows and keeps it.
function Chat:answer()
  local ids, room = self:prompt()
  if not ids then
    say("  %s", room)
    table.remove(self.messages)
    return
  end
  local began, tokens, first = core.system.monotonic(), {}, nil
  local show = speaker.printer(self.tok, ids)
  self.asked = self.asked + 1
  local ok, message, interrupted = host.call(generate.generate, self.model, { ids }, {
    max_tokens = room,
    temperature = self.cfg.temperature,
    top_k = self.cfg.top_k,
    top_p = self.cfg.top_p,
    min_p = self.cfg.min_p,
    seed = self.cfg.seed,
    prompt_lookup_num_tokens = self.cfg.prompt_lookup_num_tokens,
    keys = { self.asked },
    stream = "chat",
    stop = self.stop,
    reuse = true,
    ends = function(so_far)
      first = first or core.system.monotonic()
      tokens = so_far
      return show(so_far)
    end,
  })
  show(tokens, true)
  io.stdout:write("\n")
  io.stdout:flush()
  if not ok and not interrupted then
    say("  %s", (tostring(message):gsub("\nstack traceback:.*", "")))
  end
  local text = format.utf8(self.tok:decode(tokens, { skip_special = true }))
  self.messages[#self.messages + 1] = { role = "assistant", content = text }
  if self.talks then
    local now = core.system.monotonic()
    local guesses = ok and speaker.guesses(message)
    say(
      self.paint("dim", "  (%d tokens, first after %.2f s, then %.1f a second%s%s)"),
      #tokens,
      (first or now) - began,
      #tokens > 1 and (#tokens - 1) / (now - first) or 0,
      guesses and ", " .. guesses or "",
      interrupted and ", stopped" or ""
    )
  end
end

local commands, names = {}, {}

local function command(name, arguments, meaning, run)
  commands[name] = { arguments = arguments, meaning = meaning, run = run }
  names[#names + 1] = name
end

command("help", "", "this list", function()
  for _, name in ipairs(names) do
    local form = ("/%s %s"):format(name, commands[name].arguments)
    say("  %-22s %s", form, commands[name].meaning)
  end
end)

command("again", "", "another answer to the last message", function(chat)
  local last = chat.messages[#chat.messages]
  if not last or last.role == "system" then return say("  nothing was said yet") end
  if last.role == "assistant" then table.remove(chat.messages) end
  chat:answer()
end)

command("undo", "", "take the last message and its answer back", function(chat)
  for _, role in ipairs { "assistant", "user" } do
    local last = chat.messages[#chat.messages]
    if last and last.role == role then table.remove(chat.messages) end
  end
  say("  %d messages are left", #chat.messages)
end)

command("reset", "", "a new conversation", function(chat) chat:reset() end)

command("system", "[TEXT]", "a new conversation with this system message", function(chat, text)
  chat.cfg.system = text
  chat:reset()
end)

command("set", "[KEY VALUE]", "change " .. table.concat(LIVE, ", "), function(chat, text)
  local key, value = text:match("^(%S+)%s+(%S+)$")
  if key and not LIVE[key] then
    return say("  /set changes %s, not %s", table.concat(LIVE, ", "), key)
  elseif key then
    local ok, message = pcall(chat.cfg.set, chat.cfg, key, tonumber(value) or value)
    if not ok then return say("  %s", (tostring(message):gsub("^%S+%.lua:%d+: ", ""))) end
  end
  for _, name in ipairs(LIVE) do
    say("  %-12s %s", name, chat.cfg[name])
  end
end)

command(
  "save",
  "FILE",
  "add the conversation to a file of {messages}, for SFT",
  function(chat, path)
    if path == "" then return say("  /save wants the name of a file") end
    local log <close>, message = files.open_log(path)
    local ok
    if log then
      ok, message = log:append(json.encode { messages = json.array(chat.messages) } .. "\n")
    end
    if not ok then return say("  %s", message) end
    say("  %d messages added to %s", #chat.messages, path)
  end
)

command("quit", "", "leave, as Ctrl-D does", function() return "quit" end)

--- One line of input; "quit" ends the conversation.
function Chat:take(line)
  local name, rest = line:match("^/(%a+)%s*(.-)%s*$")
  if name and commands[name] then
    return commands[name].run(self, rest)
  elseif name then
    return say("  no command /%s; /help lists them", name)
  elseif not line:find("%S") then
    return
  end
  self.messages[#self.messages + 1] = { role = "user", content = line }
  self:answer()
end

local function converse(chat)
  if chat.talks then
    say("%s\n/help lists the commands, Ctrl-C ends an answer, Ctrl-D leaves.", chat.path)
    if not chat.template then say("It has no chat template: it goes on from what you type.") end
  end
  while true do
    local line = lineedit.read(chat.talks and "> " or "")
    if line == nil then break end
    if line then
      if chat.talks then lineedit.add(line) end
      if chat:take(line) == "quit" then break end
    end
  end
  return true
end

local function run(cfg, path)
  local model, tok = speaker.load(cfg, path)
  if not model then return nil, tok end
  local template = data.template(cfg.template, tok)
  local chat = setmetatable({
    cfg = cfg,
    model = model,
    tok = tok,
    path = path,
    template = template,
    stop = speaker.stops(tok, template),
    talks = terminal.is_tty(0) and terminal.is_tty(1),
    asked = 0, -- answers so far: the next one's place in the random stream
    paint = terminal.painter(terminal.has_color(2)),
  }, Chat)
  chat:reset()
  return converse(chat)
end

return function(args) return speaker.command("chat", usage, settings, run, args) end
