--- Prints how right the alarms are: planted mistakes, each of which the right sentence must name
-- within the stated step, and healthy runs, of which at most one may ring. Real runs of the recipes
-- in a small world; they take some minutes.
--
--   ./perilune tests/tools/alarms.lua [WORD]   in the top folder of the checkout; WORD: the rows
--                                              with it in their name alone
--
-- Ends with status 1 when a mistake was not named in time, or more than one healthy run rang.

local alarm_world = dofile("tests/lua/support/alarm_world.lua")
local cases = dofile("tests/lua/support/alarm_cases.lua")

local only = arg and arg[1]
local worlds = {}

-- The world of a kind, its model trained and, when it is asked for, a reward model.
local function world_of(key, with_reward)
  local w = worlds[key]
  if not w then
    local family, width, seed = key:match("^(%a+[%d]?) (%d+) (%d+)$")
    w = alarm_world.new(family, tonumber(width), tonumber(seed))
    worlds[key] = w
    w.sft_run = alarm_world.run(w, "sft", alarm_world.settings(w, "sft"))
    w.sft = w.sft_run.model
  end
  if with_reward and not w.reward_run then
    w.reward_run = alarm_world.run(w, "reward", alarm_world.settings(w, "reward"))
    w.reward_model = w.reward_run.model
  end
  return w
end

local function when(step)
  return step == math.huge and "end" or step == 0 and "start" or ("step %d"):format(step)
end

local function first_line(text)
  text = text:gsub("%s+", " ")
  return #text > 100 and text:sub(1, 97) .. "..." or text
end

-- One planted mistake: whether the right sentence came in time, and what to print.
local function plant(case)
  local w = world_of(case.world or cases.world, case.reward_model)
  local recipe, settings = case.recipe, alarm_world.settings(w, case.recipe)
  case.change(settings, w, alarm_world)
  local run = alarm_world.run(w, recipe, settings)
  for _, heard in ipairs(run.said) do
    if heard.text:find(case.says, 1, true) and heard.step <= case.by then
      return true,
        ("%s: %s"):format(
          when(heard.step),
          first_line(heard.text:sub(heard.text:find(case.says, 1, true) or 1))
        )
    end
  end
  local others = {}
  for _, heard in ipairs(run.said) do
    others[#others + 1] = ("%s: %s"):format(when(heard.step), first_line(heard.text))
  end
  return false, "heard: " .. (others[1] and table.concat(others, " | ") or "nothing")
end

local function healthy(case)
  local w = world_of(case.world, case.recipe == "reward" or case.reward_model)
  local run
  if case.recipe == "sft" and not case.change then
    run = w.sft_run
  elseif case.recipe == "reward" and not case.change then
    run = w.reward_run
  else
    local settings = alarm_world.settings(w, case.recipe)
    case.change(settings, w, alarm_world)
    run = alarm_world.run(w, case.recipe, settings)
  end
  if run.code ~= 0 then
    error(
      ("healthy run %s ended with status %d: %s"):format(
        case.name,
        run.code,
        run.said[#run.said].text
      )
    )
  end
  local heard = run.said[1]
  return heard == nil, heard and ("%s: %s"):format(when(heard.step), first_line(heard.text)) or ""
end

local function table_of(title, list, ask)
  print(title)
  local right, n = 0, 0
  for _, case in ipairs(list) do
    if not only or case.name:find(only, 1, true) then
      local good, text = ask(case)
      n, right = n + 1, right + (good and 1 or 0)
      print(("  %-4s %-48s %s"):format(good and "ok" or "NOT", case.name, text))
    end
  end
  return right, n
end

io.stdout:setvbuf("line")
local began = require("perilune.core").system.monotonic()
local named, planted = table_of("Planted mistakes", cases.planted, plant)
local silent, runs = table_of("Healthy runs", cases.healthy, healthy)
print(
  ("%d of %d mistakes named in time; %d false alarms in %d healthy runs (%.0f s)"):format(
    named,
    planted,
    runs - silent,
    runs,
    require("perilune.core").system.monotonic() - began
  )
)
for _, w in pairs(worlds) do
  alarm_world.clean(w)
end
os.exit((named == planted and runs - silent <= 1) and 0 or 1)
