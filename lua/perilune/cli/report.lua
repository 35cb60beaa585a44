--- `perilune report RUN... [--out FILE.html] [--csv FILE.csv] [--title TEXT]`: one page of runs,
-- finished or going on, alone or compared.
--
-- One HTML file with all it shows: curves with values and zoom, reward against KL, alarms and live
-- changes, hyper-parameters and where runs differ, answers with a filter. It needs no network.
--
--     RUN           a run folder; one of several stages; any folder with a metrics.jsonl
--     --out FILE    where to write (default: report.html, in the current folder)
--     --csv FILE    the rows of metrics.jsonl as a table: run, step, a column each metric
--     --title TEXT  of the page
--
-- Several runs are compared.

local csv = require("perilune.show.csv_write")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local run_page = require("perilune.show.run_page")
local runs = require("perilune.show.runs")
local talk = require("perilune.run.talk")

local usage = "usage: perilune report RUN... [--out FILE.html] [--csv FILE.csv] [--title TEXT]"

local function fail(message)
  io.stderr:write("perilune report: ", message, "\n")
  return 1
end

local function read_arguments(args)
  local options, paths, i = {}, {}, 1
  while i <= #args do
    local name, value = args[i]:match("^%-%-(%w+)=?(.*)$")
    if not name then
      if args[i]:sub(1, 1) == "-" then
        return nil, ("'%s' is no option; perilune report --help lists them"):format(args[i])
      end
      paths[#paths + 1] = args[i]
    elseif name == "out" or name == "csv" or name == "title" then
      if value == "" then
        i = i + 1
        value = args[i]
      end
      if not value or value == "" then return nil, ("--%s wants a value"):format(name) end
      options[name] = value
    else
      return nil, ("'--%s' is no option; perilune report --help lists them"):format(name)
    end
    i = i + 1
  end
  return options, paths
end

return function(args)
  local options, paths = read_arguments(args)
  if not options then
    return fail(paths)
  elseif #paths == 0 then
    return fail("which run? " .. usage)
  end
  for i, path in ipairs(paths) do
    local folder, wrong = talk.folder(path)
    if not folder then return fail(format.safe(wrong)) end
    paths[i] = folder
  end
  local list, message = runs.open(paths)
  if not list then return fail(message) end
  local out = options.out or "report.html"
  local ok
  ok, message = files.write_atomic(out, (run_page.html(list, { title = options.title })))
  if not ok then return fail(message) end
  print(format.safe(out))
  if options.csv then
    ok, message = csv.write(options.csv, list)
    if not ok then return fail(message) end
    print(format.safe(options.csv))
  end
  return 0
end
