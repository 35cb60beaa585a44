--- Chat logs: one message a line, told by a pattern such as `[time] <user> text`.
--
-- In a pattern the words time, user, organisation and text stand for what is read, a blank for any
-- blanks, all else for itself. `text` takes the rest of the line; any other word ends at the first
-- character that follows it in the pattern, so that reading a line takes time in proportion to its
-- length, whatever it holds.
--
-- Without a pattern, lines are `[time] <user> text` or as HexChat writes them: `Aug 15 22:12:00
-- <user>`, a tab and the text, with the year in a line that begins a log.
--
-- What channels write between messages (joins, parts, actions, notices) is no prompt: such lines
-- are passed over with a reason. A line that is neither is bad.

local clock = require("perilune.ingest.clock")

local chat_log = {}

chat_log.pattern = "[time] <user> text"

local words = { time = "time", user = "user_id", organisation = "organisation", text = "prompt" }

--- Lines that are no messages: a Lua pattern and what such a line is.
chat_log.passed_over = {
  { "^%s*$", "an empty line" },
  { "^===", "a status line" },
  { "^%-%-%-", "a status line" },
  { "^%*%*%*", "a status line" },
  { "^%[[^%]]*%]%s*%*%*%*", "a status line" },
  { "^%[[^%]]*%]%s*%*%s", "an action" },
  { "^%[[^%]]*%]%s*%-!%-", "a status line" },
  { "^%[[^%]]*%]%s*%-%S+%-%s", "a notice" },
  { "^%a%a%a %d%d? [%d:]+ %*\t", "a status line" },
  { "^%a%a%a %d%d? [%d:]+ %-[^\t]*%-\t", "a notice" },
  { "^%d%d?:[%d:]+%s+%*%*%*", "a status line" },
  { "^%d%d?:[%d:]+%s+%*%s", "an action" },
  { "^%d%d?:[%d:]+%s+%-!%-", "a status line" },
  { "^%d%d?:[%d:]+%s+%-%S+%-%s", "a notice" },
}

--- The signs that channels put before a user's name for what he may do.
local STANDING <const> = "^[%s@%+%%&~!]+"

local function literal(text)
  local pattern = text:gsub("%s+", "\0"):gsub("%p", "%%%0"):gsub("%z", "%%s+")
  return pattern
end

--- Compiles a pattern.
-- @treturn ?string Lua pattern
-- @treturn {string,...}|string canonical names of its captures; or what is wrong with it
function chat_log.compile(pattern)
  local out, names, seen, at = { "^" }, {}, {}, 1
  while at <= #pattern do
    local from, to, word = pattern:find("(%a+)", at)
    out[#out + 1] = literal(pattern:sub(at, (from or #pattern + 1) - 1))
    if not from then break end
    local name = words[word]
    if not name then
      out[#out + 1] = literal(word)
    elseif seen[name] then
      return nil, ("the pattern '%s' names %s twice"):format(pattern, word)
    else
      seen[name] = true
      names[#names + 1] = name
      local stop = pattern:sub(to + 1, to + 1)
      if word == "text" and stop ~= "" then
        return nil, ("in the pattern '%s' text must stand last"):format(pattern)
      elseif word == "text" then
        if out[#out]:sub(-3) == "%s+" then -- a message without text has no blank either
          out[#out] = out[#out]:sub(1, -2) .. "*"
        end
        out[#out + 1] = "(.*)"
      elseif stop == "" or stop:find("%a") then
        return nil, ("in the pattern '%s' a sign must follow %s"):format(pattern, word)
      else
        out[#out + 1] = stop:find("%s") and "(%S+)" or ("([^%%%s]+)"):format(stop)
      end
    end
    at = to + 1
  end
  if not seen.prompt then
    local missing = "the pattern '%s' does not say where a message's text stands: it wants the "
      .. "word text, as in '%s'"
    return nil, missing:format(pattern, chat_log.pattern)
  end
  return table.concat(out), names
end

local MONTHS <const> = "JanFebMarAprMayJunJulAugSepOctNovDec"

--- A reader of HexChat's lines: its own row of a line, or nil. The year of a date is that of the
-- last beginning of a log; one that goes over New Year counts on.
local function hexchat()
  local year, month_before
  return function(line)
    local began = line:match("^%*%*%*%* BEGIN LOGGING AT .* (%d%d%d%d)$")
    if began then
      year, month_before = tonumber(began), nil
      return nil
    end
    local month, day, time, user, text = line:match("^(%a%a%a) (%d%d?) ([%d:]+) <([^>]+)>\t(.*)$")
    local number = month and MONTHS:find(month, 1, true)
    if not number then return nil end
    if year and month_before and number < month_before then year = year + 1 end
    month_before = number
    return {
      time = year and ("%s %s %s %d"):format(month, day, time, year) or nil,
      user_id = user,
      prompt = text,
    }
  end
end

--- A reader of lines.
-- @tparam table opts pattern; skip = list of {Lua pattern, reason} in place of `passed_over`
-- @treturn ?function (line, out) -> count, reason, skipped
-- @treturn ?string message
function chat_log.reader(opts)
  local wanted = opts.pattern or chat_log.pattern
  local pattern, names = chat_log.compile(wanted)
  if not pattern then return nil, names end
  local passed_over = opts.skip or chat_log.passed_over
  local a, b, c, d = names[1], names[2], names[3], names[4]
  local other = not opts.pattern and hexchat()

  return function(line, out)
    local p, q, r, s = line:match(pattern)
    local row = not p and other and other(line)
    if not p and not row then
      for _, entry in ipairs(passed_over) do
        if line:find(entry[1]) then return 0, entry[2], true end
      end
      return 0, ("the line is not of the pattern '%s'"):format(wanted)
    end
    if not row then
      row = { [a] = p }
      if b then row[b] = q end
      if c then row[c] = r end
      if d then row[d] = s end
    end
    local user = row.user_id
    local bare = user and user:gsub(STANDING, "")
    if bare and bare ~= "" then row.user_id = bare end
    if not row.prompt:find("%S") then return 0, "a message without text", true end
    out[#out + 1] = row
    return 1
  end
end

--- The day of a log's times: given, or in its file's name.
-- @treturn ?number seconds
-- @treturn ?string message when `day` is given and is none
function chat_log.day(path, day)
  if day == nil then return clock.day(path:match("[^/]*$")) end
  local seconds = type(day) == "string" and clock.day(day)
  if not seconds then
    return nil, ("day must be a date such as 2024-05-31, got '%s'"):format(tostring(day))
  end
  return seconds
end

return chat_log
