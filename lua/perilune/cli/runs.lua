--- `perilune runs [FOLDER...]`: the runs there are, with state, step, figures and time left.
--
-- FOLDER is a run or holds runs, in folders of its folders too; without one it is runs/. Stages
-- stand under their run, which shows in place of a step which stage of how many goes on. The state
-- is running, paused, done, stopped (by a signal or `perilune stop`), failed (an error) or died
-- (killed, or the machine went down).

local format = require("perilune.base.format")
local lfs = require("lfs")
local survey = require("perilune.run.survey")
local terminal = require("perilune.base.terminal")

local COLUMNS <const> = { "run", "state", "step", "score", "KL", "loss", "left" }
local LEAST_NAME <const> = 12

local function figure(value) return value and format.number(value) or "" end

local function cells(it)
  local step = it.step and tostring(it.step) or ""
  if it.step and it.total then step = ("%d/%d"):format(it.step, it.total) end
  local stage = it.stage
  if stage and stage.number > 0 and it.state ~= "done" then
    step = ("stage %d%s"):format(stage.number, stage.of and "/" .. stage.of or "")
  end
  return {
    format.safe(it.folder),
    it.state,
    step,
    figure(it.score),
    figure(it.kl),
    figure(it.loss),
    it.left and format.duration(it.left) or "",
  }
end

-- Without the columns that no run has anything in.
local function used_columns(rows)
  local head, cut = {}, {}
  for i in ipairs(rows) do
    cut[i] = {}
  end
  for k, title in ipairs(COLUMNS) do
    local used = k <= 3
    for _, row in ipairs(rows) do
      used = used or row[k] ~= ""
    end
    for i, row in ipairs(rows) do
      cut[i][#cut[i] + 1] = used and row[k] or nil
    end
    head[#head + 1] = used and title or nil
  end
  return head, cut
end

-- A table that fits: names are cut at their beginning where the width is short.
local function layout(all, width)
  local head, rows = used_columns(all)
  local options = { head = head, align = { "left", "left" } }
  for k = 3, #head do
    options.align[k] = "right"
  end
  local text = format.columns(rows, options)
  local longest, over = 0, format.width(text:match("[^\n]*\n([^\n]*)")) - width
  for _, row in ipairs(rows) do
    longest = math.max(longest, format.width(row[1]))
  end
  local room = math.max(LEAST_NAME, longest - over)
  if over <= 0 or longest <= room then return text end
  for _, row in ipairs(rows) do
    local name = row[1]
    while format.width(name) > room - 1 do
      name = name:sub(utf8.len(name) and utf8.offset(name, 2) or 2)
    end
    if name ~= row[1] then row[1] = "…" .. name end
  end
  return format.columns(rows, options)
end

return function(args)
  local folders = {}
  for _, word in ipairs(args) do
    if lfs.attributes(word, "mode") ~= "directory" then
      io.stderr:write(("perilune runs: there is no folder '%s'\n"):format(format.safe(word)))
      return 1
    end
    folders[#folders + 1] = word:gsub("(.)/+$", "%1")
  end
  if #folders == 0 then folders = { "runs" } end
  local rows = {}
  for _, folder in ipairs(folders) do
    for _, path in ipairs(survey.runs(folder)) do
      rows[#rows + 1] = cells(survey.look(path))
    end
  end
  if #rows == 0 then
    io.stdout:write("there are no runs in ", table.concat(folders, ", "), "/\n")
  else
    io.stdout:write(layout(rows, terminal.width()), "\n")
  end
  return 0
end
