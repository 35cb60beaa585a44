--- `perilune store FILE [bad | export FOLDER | import FOLDER]`: what a data store holds; its export
-- and import.
--
--     perilune store FILE                   what it holds
--     perilune store FILE bad               lines that gave no row, with file, line and reason
--     perilune store FILE export FOLDER     every table as FOLDER/TABLE.jsonl
--     perilune store FILE import FOLDER     a new store FILE of such a folder

local format = require("perilune.base.format")
local store = require("perilune.store")

local usage = "usage: perilune store FILE [bad | export FOLDER | import FOLDER]"

local function fail(message)
  io.stderr:write("perilune store: ", message, "\n")
  return 1
end

local function show(opened)
  local counts, rows = opened:counts(), {}
  for name, count in pairs(counts) do
    rows[#rows + 1] = { name, count }
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  print(format.columns(rows, { head = { "table", "rows" } }))
  local sources = {}
  for _, source in ipairs(opened:sources()) do
    sources[#sources + 1] = {
      source.path,
      source.format,
      source.rows,
      source.bad,
      source.finished and "yes" or "no",
    }
  end
  if #sources > 0 then
    print(
      "\n"
        .. format.columns(
          sources,
          { head = { "source", "form", "rows", "bad lines", "read to its end" } }
        )
    )
  end
  local sets = {}
  for _, set in ipairs(opened:sets()) do
    sets[#sets + 1] =
      { set.name, set.rows.sft, set.rows.rm, set.rows.ppo, set.finished and "yes" or "no" }
  end
  if #sets > 0 then
    print("\n" .. format.columns(sets, { head = { "set", "SFT", "RM", "PPO", "finished" } }))
  end
  return 0
end

local function show_bad(opened)
  for _, source in ipairs(opened:sources()) do
    for _, bad in ipairs(opened:bad_lines(source.id)) do
      print(
        ("%s:%d: %s: %s"):format(source.path, bad.line, bad.reason, (bad.excerpt:gsub("%c", " ")))
      )
    end
  end
  return 0
end

-- How many arguments each thing takes.
local known = { show = 1, bad = 2, export = 3, import = 3 }

return function(args)
  local path, deed, folder = args[1], args[2], args[3]
  if not path then return fail("which store? " .. usage) end
  local wrong = (deed == "export" or deed == "import") and not folder and deed .. " wants a folder"
    or not known[deed or "show"] and ("there is nothing called '%s' to do"):format(deed)
    or #args > known[deed or "show"] and ("'%s' is one too many"):format(args[#args])
  if wrong then return fail(("%s; %s"):format(format.safe(wrong), usage)) end
  if deed == "import" then
    local made, message = store.import(folder, path)
    return made and show(made) or fail(message)
  end
  if not require("lfs").attributes(path) then return fail(path .. ": there is no such file") end
  local opened <close>, message = store.open(path, { readonly = true })
  if not opened then
    return fail(message)
  elseif deed == "bad" then
    return show_bad(opened)
  elseif deed == "export" then
    local ok, reason = opened:export(folder)
    return ok and 0 or fail(reason)
  end
  return show(opened)
end
