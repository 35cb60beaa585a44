--- One line that tells how far a loop is, how fast, how long it still takes, and its figures.
--
--     local p = progress.new { label = "ppo", total = 300, unit = "step", smooth = { "loss" } }
--     for step = 1, 300 do
--       p:update(step, { loss = l, reward = r })
--     end
--     p:finish()
--
--     ppo  42 % ━━━━━━━━────────────  126/300  3.21 step/s  0m 54s left  loss 0.3120  reward 1.240
--
-- On a terminal the line is redrawn, at most ten times a second; elsewhere (a log, CI) each step
-- has a line, at most one in `every` seconds. It goes to standard error: standard output stays
-- clean.
-- The rate is of the last half minute or so, not of the whole run, so that the time left follows a
-- change of pace.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local system = require("perilune.core").system
local terminal = require("perilune.base.terminal")

local progress = {}

--- A progress line.
-- @class Progress
local Progress = {}
Progress.__index = Progress
Progress.__name = "progress"

local horizon = 30 -- seconds after which an old pace counts a third
local decay = 0.9 -- of smoothed figures

--- Begin a progress line.
-- @tparam table options `label` ("") the name of what goes on; `total` (nil: not known) counts in
--   all; `unit` ("step") of a count; `smooth` (none) names of figures to be shown as running means;
--   `every` (1) seconds between lines when there is no terminal; `quiet` (false) shows nothing;
--   `first` (0) count at which a resumed loop begins; and for tests `out` (standard error), `tty`,
--   `color` and `width` (the terminal's, columns), `clock` (the system's, seconds)
-- @treturn Progress
function progress.new(options)
  options = checked.take(
    "progress.new",
    options,
    checked.any_of {
      "label",
      "total",
      "unit",
      "smooth",
      "every",
      "quiet",
      "first",
      "out",
      "tty",
      "color",
      "width",
      "clock",
    }
  )
  local tty = options.tty
  if tty == nil then tty = terminal.is_tty(2) end
  local color = options.color
  if color == nil then color = tty and terminal.has_color(2) end
  local smooth = {}
  for _, name in ipairs(options.smooth or {}) do
    smooth[name] = { sum = 0, weight = 0 }
  end
  local clock = options.clock or system.monotonic
  return setmetatable({
    label = options.label or "",
    total = options.total,
    unit = options.unit or "step",
    smooth = smooth,
    every = options.every or 1,
    quiet = options.quiet,
    out = options.out or io.stderr,
    tty = tty,
    paint = terminal.painter(color),
    width = options.width,
    clock = clock,
    start = clock(),
    seen = clock(),
    first = options.first or 0,
    count = options.first or 0,
    figures = {},
    names = {},
    drawn = false,
    shown = nil,
    pace = nil,
  }, Progress)
end

local function measure_pace(self, count, now)
  local done, seconds = count - self.count, now - self.seen
  if done > 0 and seconds > 0 then
    local pace = seconds / done
    local whole = (now - self.start) / math.max(1, count - self.first)
    local keep = math.exp(-seconds / horizon)
    self.pace = self.pace and keep * self.pace + (1 - keep) * pace or whole
    self.seen = now
  end
end

local function rate_text(self)
  if not self.pace or self.pace <= 0 then return nil end
  local rate = 1 / self.pace
  if rate >= 1 then return format.number(rate, 3) .. " " .. self.unit .. "/s" end
  return format.number(self.pace, 3) .. " s/" .. self.unit
end

local function bar(part, width)
  local full = math.floor(part * width + 0.5)
  return ("━"):rep(full), ("─"):rep(width - full)
end

local function figure_texts(self)
  local texts = {}
  for _, name in ipairs(self.names) do
    local value = self.figures[name]
    local text = type(value) == "number" and format.number(value) or tostring(value)
    texts[#texts + 1] = self.paint("dim", name) .. " " .. text
  end
  return texts
end

-- What is left out first where the terminal is narrow: figures matter more than bar and pace.
local layouts = {
  { bar = 20, rate = true, left = true },
  { bar = 8, rate = true, left = true },
  { bar = 0, rate = true, left = true },
  { bar = 0, left = true },
  { bar = 0 },
}

local function head_of(self, layout, finished)
  local parts = {}
  local part = self.total and self.total > 0 and math.min(1, self.count / self.total)
  local head = self.paint("bold", self.label)
  if part then
    head = head .. ("  %3d %%"):format(math.floor(100 * part + 1e-9))
    if self.tty and layout.bar > 0 then
      local full, empty = bar(part, layout.bar)
      head = head .. " " .. self.paint("green", full) .. self.paint("dim", empty)
    end
    parts[1] = head
    parts[2] = ("%s/%s"):format(format.count(self.count), format.count(self.total))
  else
    parts[1] = head
    parts[2] = format.count(self.count) .. " " .. self.unit .. (self.count == 1 and "" or "s")
  end
  if layout.rate then parts[#parts + 1] = rate_text(self) end
  if finished then
    parts[#parts + 1] = "took " .. format.duration(self.clock() - self.start)
  elseif part and self.pace and layout.left then
    parts[#parts + 1] = format.duration(self.pace * (self.total - self.count)) .. " left"
  end
  return table.concat(parts, "  ")
end

--- The line as it is now, without its newline.
-- @tparam ?boolean finished true: with the time the loop took in place of the time left
-- @treturn string
function Progress:line(finished)
  local limit = self.tty and (self.width or terminal.width()) - 1 or math.huge
  local texts = figure_texts(self)
  local figures = table.concat(texts, "  ")
  local line
  for _, layout in ipairs(layouts) do
    line = head_of(self, layout, finished)
    if format.width(line) + 2 + format.width(figures) <= limit then break end
  end
  for _, text in ipairs(texts) do
    if format.width(line) + 2 + format.width(text) > limit then break end
    line = line .. "  " .. text
  end
  return line
end

local function draw(self, now, finished)
  if self.quiet then return end
  local line = self:line(finished)
  if self.tty then
    self.out:write("\r\27[K", line, finished and "\n" or "")
    self.drawn = not finished
  else
    self.out:write(line, "\n")
  end
  self.out:flush()
  self.shown = now
end

--- Tell how far the loop is.
-- @tparam number count of `total`
-- @tparam ?{[string]=number|string} figures to show; one not given keeps its last value
-- @tparam ?{string,...} order of the figures, else the alphabet's
function Progress:update(count, figures, order)
  local now = self.clock()
  measure_pace(self, count, now)
  self.count = count
  for name, value in pairs(figures or {}) do
    if self.figures[name] == nil then
      self.names[#self.names + 1] = name
      table.sort(self.names)
    end
    local mean = self.smooth[name]
    if mean and type(value) == "number" and value - value == 0 then
      mean.sum = decay * mean.sum + (1 - decay) * value
      mean.weight = decay * mean.weight + (1 - decay)
      value = mean.sum / mean.weight
    end
    self.figures[name] = value
  end
  self.names = order or self.names
  if not self.shown or now - self.shown >= (self.tty and 0.1 or self.every) then
    draw(self, now, false)
  end
end

--- Write a message of its own line without tearing the progress line.
-- @tparam string text of one line or several
function Progress:print(text)
  if self.drawn then self.out:write("\r\27[K") end
  self.out:write(format.safe(text), "\n")
  self.out:flush()
  if self.drawn then draw(self, self.clock(), false) end
end

--- Draw the line a last time, with the time the loop took.
function Progress:finish()
  if not self.finished then
    self.finished = true
    draw(self, self.clock(), true)
  end
end

Progress.__close = Progress.finish

return progress
