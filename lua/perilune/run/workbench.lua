--- What a client of a run types into it: a session of the REPL among the recipe's variables.
--
-- Names are looked up first among the session's own, then the recipe's variables, then
--
--     metrics   the rows so far        samples   the examples of samples.jsonl
--     journal   the changes so far     generate  generate("text", {max_tokens = 40}): the answer of
--                                                the model as it is now
--
-- then Lua's globals. A name of the recipe that is assigned to is set there, or refused with the
-- reason; other names stay in the session. Reading never changes a run.

local core = require("perilune.core")
local data = require("perilune.data")
local files = require("perilune.base.files")
local generation = require("perilune.model.generate")
local host = require("perilune.host")
local live = require("perilune.run.live")
local log = require("perilune.run.log")
local schedule = require("perilune.config.schedule")

local workbench = {}

local Bench = {}
Bench.__index = Bench

-- The recipe's own, which stand for the run: their keys and methods change it, not an assignment.
local settled = {
  cfg = "set its keys: cfg.kl_coef = 0.05",
  run = "it is the run itself",
}

local extras = {}

function extras.metrics(bench) return bench.run.history end

function extras.samples(bench)
  return (log.read(bench.run.dir .. "/samples.jsonl", { numbers = true })) or {}
end

function extras.journal(bench) return bench.run:journal() end

function extras.pl() return package.loaded["perilune"] end

local function no_exit() error("that would end the run; :stop ends it, :detach leaves it", 2) end

function extras.os() return setmetatable({ exit = no_exit }, { __index = os }) end

function extras.generate(bench)
  return function(prompt, options)
    local view = bench.control.frame
    local function of(name) return select(2, view:get(name)) end
    local online = of("online") or {}
    local model, tok = online.policy or of("policy") or of("model"), online.tokenizer or of("tok")
    local template = online.template or of("template")
    if not model or not tok then
      error("generate needs the recipe's variables online, or policy or model, and tok", 2)
    end
    local asked = type(prompt) == "table" and { messages = prompt } or { prompt = tostring(prompt) }
    local ids = assert(data.prompt_ids(tok, template, asked))
    local all = {
      max_tokens = 64,
      seed = bench.run.cfg.seed,
      stream = "attach",
      stop = { data.stop_id(tok, template) },
    }
    for name, value in pairs(options or {}) do
      all[name] = value
    end
    local answer = generation.generate(model, { ids }, all)[1]
    return tok:decode(answer.tokens, { skip_special = true })
  end
end

-- What stands behind the session's own names.
local function globals_of(bench)
  local own = {}
  bench.own = own
  local meta = {}
  function meta.__index(_, name)
    if own[name] ~= nil then return own[name] end
    local found, value = bench.control.frame:get(name)
    if found then return value end
    if extras[name] then return extras[name](bench) end
    return _G[name]
  end
  function meta.__newindex(_, name, value)
    local view = bench.control.frame
    if settled[name] and view:get(name) then
      error(("%s cannot be replaced; %s"):format(name, settled[name]), 0)
    end
    local done, why = view:set(name, value)
    if done == nil then error(why, 0) end
    if done then
      bench.assigned[#bench.assigned + 1] = name
    else
      own[name] = value
    end
  end
  return setmetatable({}, meta), meta
end

--- The bench of a client, made at its first request.
-- @tparam table control
-- @tparam table client
-- @tparam ?integer width of the client's terminal, columns
-- @treturn table
function workbench.session(control, client, width)
  local bench = client.bench
  if not bench then
    bench =
      setmetatable({ control = control, run = control.run, assigned = {}, printed = {} }, Bench)
    bench.globals, bench.meta = globals_of(bench)
    bench.session = host.prompt().new {
      globals = bench.globals,
      output = function(text) bench.printed[#bench.printed + 1] = text end,
      width = function() return bench.width end,
    }
    client.bench = bench
  end
  bench.width = math.tointeger(width) or bench.width or 80
  return bench
end

-- Keeping tensors ---------------------------------------------------------------------------------

local DEEPEST <const> = 8

-- Moves the tensors that a value holds out of the eval's scope: they live as long as the value.
local function keep(value, seen, depth)
  if type(value) == "userdata" then
    local meta = debug.getmetatable(value)
    if type(meta) == "table" and meta.__name == "perilune.Tensor" then
      pcall(value.keep, value, true)
    end
  elseif type(value) == "table" and not seen[value] and depth < DEEPEST then
    seen[value] = true
    for _, inner in next, value do
      keep(inner, seen, depth + 1)
    end
  end
end

-- What decides the result -------------------------------------------------------------------------

-- A text for each thing that decides the run's result, by name.
local function fingerprint(run)
  local scope <close> = core.scope("attach.fingerprint")
  local parts, marks = run.parts or {}, {}
  if parts.model then marks.model = parts.model:hash() end
  for name, model in pairs(parts.models or {}) do
    marks[name] = model:hash()
  end
  for name, optimizer in pairs(parts.optimizers or {}) do
    local moments = optimizer:state()
    local hash = files.hash_tensors { m = moments.m, v = moments.v }
    marks["optimizer " .. name] = ("%d %s"):format(moments.steps, hash)
  end
  marks.state = run.recipe_state and core.json.encode(run.recipe_state, { finite = true })
  return marks
end

local function differences(before, after, assigned)
  local changed = {}
  for name, mark in pairs(before) do
    if after[name] ~= mark then changed[#changed + 1] = name end
  end
  for _, name in ipairs(assigned) do
    changed[#changed + 1] = "local " .. name
  end
  table.sort(changed)
  return changed
end

-- Evaluation --------------------------------------------------------------------------------------

local function refuse_function(name, value)
  if schedule.is(value) and not value:has_text() then
    local text = "%s: a Lua function cannot be kept in the journal, so that the run could not be "
      .. 'resumed or replayed; give a schedule, such as pl.schedule.formula("0.1 / step")'
    return text:format(name)
  end
end

local MOST_SECONDS <const> = 60 -- that an eval may hold a run that goes on
local TOO_LONG <const> = "stopped after 60 s, in which the run stood still: pause it first (:pause)"

-- Runs an entry so that nothing outlives it but what it means to change: its tensors go, and
-- whether gradients are kept is as before.
local function run_entry(bench, client, entry)
  local cfg = bench.run.cfg
  local scope <close> = core.scope("attach")
  local grad <close> = core.with_grad() -- luacheck: ignore
  cfg:set_guard(refuse_function)
  client.channel:alarm(true)
  local most = bench.control.state == "paused" and 0 or MOST_SECONDS
  local began = core.system.monotonic()
  local ok, result = host.call(function()
    host.attend(true, most)
    if core.net.wait({ client.channel }, 0) then host.interrupt() end -- it came before the alarm
    local got = bench.session:run(entry)
    host.attend(false)
    return got
  end)
  host.attend(false)
  if not client.gone then client.channel:alarm(false) end
  cfg:set_guard(nil)
  local seen = {}
  keep(rawget(bench.session.env, "_"), seen, 0)
  keep(bench.session.env, seen, 0)
  keep(bench.own, seen, 0)
  if ok and not result.interrupted then return result end
  local late = most > 0 and core.system.monotonic() - began >= most
  return { ok = false, error = late and TOO_LONG or "interrupted" }
end

--- Runs a text.
-- @tparam table client
-- @tparam string text
-- @treturn any nil
-- @treturn string what the prompt shows
-- @treturn table further fields of the reply: `ok` = false after an error, `more` when lines are
--   missing
function Bench:eval(client, text)
  local entry, wrong, at_end = self.session:compile(text)
  if not entry then
    if wrong == "more" then return nil, at_end or "", { more = true } end
    return nil, wrong, { ok = false }
  end
  self.printed, self.assigned = {}, {}
  local harmless = entry.kind == "nothing" or entry.kind == "help"
  local before = harmless or fingerprint(self.run)
  local already = #self.run.cfg:journal()
  self.run.speaker = "attach"
  local result = run_entry(self, client, entry)
  self.run.speaker = nil
  local journal = self.run.cfg:journal()
  for i = already + 1, #journal do
    self.printed[#self.printed + 1] = live.change_text(journal[i]) .. "\n"
  end
  if not harmless then
    local changed = differences(before, fingerprint(self.run), self.assigned)
    self.run:note {
      step = self.control.step,
      eval = text,
      changed = #changed > 0 and changed or nil,
    }
  end
  local shown = table.concat(self.printed) .. (result.ok and result.text or result.error or "")
  return nil, shown, { ok = result.ok }
end

--- What could follow a text.
-- @tparam string text
-- @treturn string what to insert
-- @treturn ?{string,...} what could stand there
function Bench:complete(text)
  local names = self.control.frame:all()
  for name in pairs(extras) do
    names[name] = names[name] or extras[name](self)
  end
  for name, value in pairs(self.own) do
    names[name] = value
  end
  local ask = self.meta.__index
  self.meta.__index = setmetatable(names, { __index = _G }) -- completion asks no function
  local ok, insert, list = pcall(self.session.complete, self.session, text)
  self.meta.__index = ask
  if not ok then error(insert, 0) end
  return insert, list
end

return workbench
