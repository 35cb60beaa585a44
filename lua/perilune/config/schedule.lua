--- Schedules: a hyper-parameter that changes with the step.
--
-- A schedule is called with the number of the step, counted from 1: `s(step)`. It starts at its
-- first value with step 1 and has reached its last when `steps` steps are done, that is from step
-- steps + 1 on. With u = clamp((step - 1) / steps, 0, 1):
--
--     linear(a, b, steps)    a + (b - a) u
--     cosine(a, b, steps)    b + (a - b) (1 + cos(π u)) / 2            Loshchilov & Hutter 2017
--     warmup(n, inner, f)    (f + (1 - f) (step - 1) / n) · inner(1) for step <= n,
--                            then inner(step - n)
--
-- so the k-th update has the rate that Hugging Face's schedulers give it (they count from 0). Where
-- `steps` is left out the schedule spans the whole run, whose length is told by `set_horizon`.
--
-- adaptive_kl follows the measured KL (Ziegler et al. 2019, §2.2, in the form their code has):
--
--     err = clip(kl / target - 1, -0.2, 0.2);   coef <- coef · (1 + err · n / horizon)
--
-- n being the number of episodes since the last update. Every schedule has `update`, and only this
-- one does anything there, so a loop can call it without asking what it holds.
--
-- `tostring(s)` is text that `schedule.parse` turns back into an equal schedule. Text is read as an
-- expression (perilune.config.expression), never as Lua, for it may come out of a run folder. The
-- exception is a bare Lua function, which has no text; use `formula` for one that has to survive a
-- restart, or give the function again.

local checked = require("perilune.base.options")
local expression = require("perilune.config.expression")
local format = require("perilune.base.format")

local schedule = {}

--- A hyper-parameter that changes with the step.
-- @class Schedule
local Schedule = {}
Schedule.__index = Schedule
Schedule.__name = "schedule"

local function new(kind, fields, value_at)
  fields.kind = kind
  fields.value_at = value_at
  return setmetatable(fields, Schedule)
end

local function finite(x)
  return type(x) == "number" and x == x and x ~= math.huge and x ~= -math.huge
end

local function want_number(x, what, where)
  if not finite(x) then
    error(("%s: %s must be a number, got %s"):format(where, what, tostring(x)), 3)
  end
end

local function want_steps(steps, where)
  if steps ~= nil and not (finite(steps) and steps >= 1) then
    error(("%s: the number of steps must be 1 or more, got %s"):format(where, tostring(steps)), 3)
  end
end

--- Progress u in [0, 1] of a schedule over its steps or over the whole run.
local function progress(self, step)
  local steps = self.steps or self.horizon
  if not steps then
    local message = "%s spans the whole run, whose length is not known yet; "
      .. "give the schedule its number of steps, or call set_horizon first"
    error(message:format(tostring(self)), 4)
  end
  return math.max(0, math.min(1, (step - 1) / steps))
end

local function span_text(name, self)
  local text = ("%s(%s, %s"):format(name, format.exact(self.from), format.exact(self.to))
  return text .. (self.steps and ", " .. format.exact(self.steps) or "") .. ")"
end

--- Always the same value. Raises for one that is not finite.
-- @tparam number value the value
-- @treturn Schedule
function schedule.constant(value)
  want_number(value, "the value", "constant")
  return new("constant", { value = value }, function(self) return self.value end)
end

--- A straight line from `from` at step 1 to `to`, then `to`. Raises for values that are not finite,
-- or steps that are not above 0.
-- @tparam number from the value of step 1
-- @tparam number to the value after `steps` steps
-- @tparam ?number steps of the run it takes, above 0 (default: the whole run)
-- @treturn Schedule
function schedule.linear(from, to, steps)
  want_number(from, "the first value", "linear")
  want_number(to, "the last value", "linear")
  want_steps(steps, "linear")
  return new("linear", { from = from, to = to, steps = steps }, function(self, step)
    local u = progress(self, step)
    return u >= 1 and self.to or self.from + (self.to - self.from) * u
  end)
end

--- Half a cosine from `from` at step 1 to `to`, then `to`. Raises for values that are not finite,
-- or steps that are not above 0.
-- @tparam number from the value of step 1
-- @tparam number to the value after `steps` steps
-- @tparam ?number steps of the run it takes, above 0 (default: the whole run)
-- @treturn Schedule
function schedule.cosine(from, to, steps)
  want_number(from, "the first value", "cosine")
  want_number(to, "the last value", "cosine")
  want_steps(steps, "cosine")
  return new("cosine", { from = from, to = to, steps = steps }, function(self, step)
    local u = progress(self, step)
    return u >= 1 and self.to or self.to + (self.from - self.to) * 0.5 * (1 + math.cos(math.pi * u))
  end)
end

--- A rise to `inner` over `steps` steps, then `inner` from its own beginning. Raises when the steps
-- are missing.
-- @tparam number steps of the run that it takes, above 0
-- @tparam number|Schedule|function inner what it rises to: a value, a schedule or a function of the
--   step
-- @tparam ?number start_fraction the part of inner's first value that step 1 has, 0 to 1 (default:
--   0)
-- @treturn Schedule
function schedule.warmup(steps, inner, start_fraction)
  if steps == nil then
    error("warmup: the number of steps is missing; write warmup(steps, value or schedule)", 2)
  end
  want_steps(steps, "warmup")
  start_fraction = start_fraction or 0
  if not finite(start_fraction) or start_fraction < 0 or start_fraction > 1 then
    local message = "warmup: the start fraction must lie between 0 and 1, got %s"
    error(message:format(tostring(start_fraction)), 2)
  end
  local fields = { steps = steps, inner = schedule.of(inner), start_fraction = start_fraction }
  return new("warmup", fields, function(self, step)
    if step > self.steps then return self.inner(step - self.steps) end
    local part = self.start_fraction + (1 - self.start_fraction) * (step - 1) / self.steps
    return part * self.inner(1)
  end)
end

--- Straight lines through the given points, level before the first and after the last. Two points
-- at one step make a jump: the later one holds from that step on. Raises when points are not in
-- order of step, or none are given.
-- @tparam {{number,number},...} points {step, value}, in order of step
-- @treturn Schedule
function schedule.piecewise(points)
  if type(points) ~= "table" or #points == 0 then
    error("piecewise takes a list of {step, value} points, such as {{1, 0.2}, {500, 0.05}}", 2)
  end
  local copy = {}
  for i, point in ipairs(points) do
    if type(point) ~= "table" or not finite(point[1]) or not finite(point[2]) then
      error(("piecewise: point %d must be {step, value}, two numbers"):format(i), 2)
    end
    if i > 1 and point[1] < copy[i - 1][1] then
      local message = "piecewise: points must be in order of step, but point %d (step %s) is early"
      error(message:format(i, format.exact(point[1])), 2)
    end
    copy[i] = { point[1], point[2] }
  end
  return new("piecewise", { points = copy }, function(self, step)
    local list = self.points
    local last = 0
    while last < #list and list[last + 1][1] <= step do
      last = last + 1
    end
    if last == 0 then
      return list[1][2]
    elseif last == #list then
      return list[last][2]
    end
    local left, right = list[last], list[last + 1]
    return left[2] + (right[2] - left[2]) * (step - left[1]) / (right[1] - left[1])
  end)
end

--- A coefficient that grows while the measured KL is above its target and shrinks while below.
-- Raises on a value that is not above 0.
-- @tparam table options `init` (0.15) the coefficient at the start; `target` (6) the KL wanted,
--   nats a sequence; `horizon` (10000) episodes after which a KL that is off by a fifth or more has
--   changed the coefficient by about a fifth
-- @treturn Schedule with `update(kl, n)`
function schedule.adaptive_kl(options)
  options = checked.take("adaptive_kl", options, { init = 0.15, target = 6, horizon = 10000 })
  for _, name in ipairs { "init", "target", "horizon" } do
    local value = options[name]
    if not finite(value) or value <= 0 then
      error(("adaptive_kl: %s must be a number above 0, got %s"):format(name, tostring(value)), 2)
    end
  end
  local fields = { init = options.init, target = options.target, kl_horizon = options.horizon }
  fields.coef = fields.init
  return new("adaptive_kl", fields, function(self) return self.coef end)
end

local formula_names = { huge = math.huge, pi = math.pi }
for name in ("abs ceil cos exp floor log max min sin sqrt"):gmatch("%a+") do
  formula_names[name] = math[name]
end

--- A schedule written as an expression of `step` (from 1), with the functions of `math` at hand.
-- Raises when it cannot be read; a step at which it has no value raises when it is asked for.
-- @tparam string text for example "0.2 / sqrt(step)"
-- @treturn Schedule
function schedule.formula(text)
  if type(text) ~= "string" then
    error(('formula takes a text such as "0.2 / sqrt(step)", got %s'):format(type(text)), 2)
  end
  local value_of, message =
    expression.parse(text, { scope = formula_names, variables = { step = true } })
  if not value_of then error(('formula "%s" cannot be read: %s'):format(text, message), 2) end
  return new("formula", { text = text }, function(_, step)
    local value, wrong = value_of { step = step }
    if wrong then
      error(('formula "%s" at step %s: %s'):format(text, format.exact(step), wrong), 0)
    end
    return value
  end)
end

--- A schedule made of any Lua function of the step.
-- @tparam function fn (step) -> number; step from 1. Anything else raises
-- @treturn Schedule
function schedule.from_function(fn)
  if type(fn) ~= "function" then
    error("from_function takes a function of the step, got " .. type(fn), 2)
  end
  return new("function", { fn = fn }, function(_, step) return fn(step) end)
end

--- Whether a value is a schedule.
-- @tparam any value of any type
-- @treturn boolean
function schedule.is(value) return getmetatable(value) == Schedule end

--- A schedule of whatever a recipe may write: a number, a schedule, a function, or text of one.
-- Raises when it is none of these.
-- @tparam number|Schedule|function|string value 0.05, a schedule, a function of the step, or text
--   as of `schedule.parse`
-- @treturn Schedule
function schedule.of(value)
  if schedule.is(value) then
    return value
  elseif type(value) == "number" then
    want_number(value, "the value", "schedule")
    return schedule.constant(value)
  elseif type(value) == "function" then
    return schedule.from_function(value)
  elseif type(value) == "string" then
    local parsed, message = schedule.parse(value)
    return parsed or error(message, 2)
  end
  local message = "a schedule is a number, a schedule, a function of the step or text, got %s"
  error(message:format(type(value)), 2)
end

--- The constructors a text may use: what `parse` and preset files see.
-- @treturn {[string]=function} by name
function schedule.constructors()
  local names = {}
  for _, name in ipairs(schedule.constructor_names) do
    names[name] = schedule[name]
  end
  return names
end

--- The names of the constructors that a text may use.
-- @type {string,...}
schedule.constructor_names =
  { "constant", "linear", "cosine", "warmup", "piecewise", "adaptive_kl", "formula" }

local neither = "'%s' is neither a number nor a schedule such as cosine(0.1, 0.01, 500)"

--- Read a schedule from text: a number, or an expression of the constructors alone.
-- @tparam string text such as "0.05" or "cosine(1e-4, 0, 500)"
-- @treturn ?Schedule
-- @treturn ?string what is wrong with the text
function schedule.parse(text)
  local number = tonumber(text)
  if number then
    if not finite(number) then return nil, ("'%s' is not a finite number"):format(text) end
    return schedule.constant(number)
  end
  local value_of, message = expression.parse(text, {
    scope = schedule.constructors(),
    noun = "schedule",
    listed = schedule.constructor_names,
  })
  local result
  if value_of then
    result, message = value_of()
  end
  if message then return nil, ("'%s': %s"):format(text, message) end
  if type(result) == "number" and finite(result) then
    return schedule.constant(result)
  elseif not schedule.is(result) then
    return nil, neither:format(text)
  end
  return result
end

--- The value at a step, counted from 1.
-- @tparam number step
-- @treturn number
function Schedule:__call(step)
  if type(step) ~= "number" then
    error(("a schedule is called with the step, as in s(step); got %s"):format(type(step)), 2)
  end
  local value = self:value_at(step)
  if not finite(value) then
    local message = "%sthe schedule %s gave %s at step %s; it must give a finite number"
    error(
      message:format(
        self.key and self.key .. ": " or "",
        tostring(self),
        type(value) == "number" and format.exact(value) or "a " .. type(value),
        format.exact(step)
      ),
      0
    )
  end
  if self.guard then self.guard(value, step) end
  return value
end

--- Text that `schedule.parse` reads back.
function Schedule:__tostring()
  local kind = self.kind
  if kind == "constant" then
    return format.exact(self.value)
  elseif kind == "linear" or kind == "cosine" then
    return span_text(kind, self)
  elseif kind == "warmup" then
    local text = ("warmup(%s, %s"):format(format.exact(self.steps), tostring(self.inner))
    local fraction = self.start_fraction
    return text .. (fraction ~= 0 and ", " .. format.exact(fraction) or "") .. ")"
  elseif kind == "piecewise" then
    local parts = {}
    for i, point in ipairs(self.points) do
      parts[i] = ("{%s, %s}"):format(format.exact(point[1]), format.exact(point[2]))
    end
    return "piecewise{" .. table.concat(parts, ", ") .. "}"
  elseif kind == "adaptive_kl" then
    local text = "adaptive_kl{init = %s, target = %s, horizon = %s}"
    return text:format(
      format.exact(self.init),
      format.exact(self.target),
      format.exact(self.kl_horizon)
    )
  elseif kind == "formula" then
    return ("formula(%q)"):format(self.text)
  end
  local info = debug.getinfo(self.fn, "S")
  return ("function at %s:%d"):format(info.short_src, info.linedefined)
end

function Schedule.__eq(a, b) return tostring(a) == tostring(b) end

--- The one value of a schedule that never changes, nil for any other.
-- `if cfg.ptx_coef:fixed() ~= 0 then` asks whether a term is needed at all.
-- @treturn ?number nil when it changes, or may
function Schedule:fixed()
  if self.kind == "constant" then return self.value end
end

--- Whether its values depend on the length of the run.
-- @treturn boolean
function Schedule:spans_run()
  local kind = self.kind
  return (kind == "linear" or kind == "cosine") and not self.steps
    or self.inner ~= nil and self.inner:spans_run()
end

--- Whether a text is what `tostring` gives for a schedule that is a Lua function.
-- @tparam any text of a schedule, or anything else
-- @treturn boolean
function schedule.is_function_text(text)
  return type(text) == "string" and text:find("function at ", 1, true) ~= nil
end

--- Whether `tostring` gives text that can be read back.
-- @treturn boolean
function Schedule:has_text()
  return self.kind ~= "function" and not (self.inner and not self.inner:has_text())
end

--- The values this schedule is known to pass through, for checking against a range.
-- @treturn {number,...} empty for formulas and functions
function Schedule:extremes()
  if self.kind == "constant" then
    return { self.value }
  elseif self.kind == "linear" or self.kind == "cosine" then
    return { self.from, self.to }
  elseif self.kind == "adaptive_kl" then
    return { self.coef }
  elseif self.kind == "piecewise" then
    local values = {}
    for i, point in ipairs(self.points) do
      values[i] = point[2]
    end
    return values
  elseif self.kind == "warmup" then
    return self.inner:extremes()
  end
  return {}
end

--- Tell the length of the run to a schedule that spans it. Raises for steps that are not above 0.
-- @tparam number steps of the whole run, above 0
function Schedule:set_horizon(steps)
  want_steps(steps, "set_horizon")
  self.horizon = steps
  if self.inner then self.inner:set_horizon(math.max(1, steps - self.steps)) end
end

--- Tell a schedule what was measured; only adaptive_kl listens.
-- @tparam number kl nats a sequence, mean of the last batch
-- @tparam number n episodes since the last call
function Schedule:update(kl, n)
  if self.inner then self.inner:update(kl, n) end
  if self.kind ~= "adaptive_kl" or not finite(kl) then return end
  local err = math.max(-0.2, math.min(0.2, kl / self.target - 1))
  self.coef = self.coef * (1 + err * n / self.kl_horizon)
end

--- What `load_state` needs to go on from here; nil for schedules without memory.
-- @treturn ?{[string]=any} nil for one without memory
function Schedule:state()
  if self.kind == "adaptive_kl" then return { coef = self.coef } end
  return self.inner and self.inner:state()
end

--- Go on from a saved state. Raises for one that is damaged.
-- @tparam ?{[string]=any} state as of `Schedule:state`; nil changes nothing
function Schedule:load_state(state)
  if not state then
    return
  elseif self.kind == "adaptive_kl" then
    want_number(state.coef, "coef of the saved state", "adaptive_kl")
    self.coef = state.coef
  elseif self.inner then
    self.inner:load_state(state)
  end
end

return schedule
