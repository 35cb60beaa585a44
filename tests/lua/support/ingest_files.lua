--- Files of every format in small, made up for the tests of ingest, and lines that are bad in every
-- way with the reason that must be given.

local lfs = require("lfs")

local made = {}

--- A new folder that `remove` takes away with what is in it.
function made.folder()
  local name = os.tmpname()
  os.remove(name)
  assert(lfs.mkdir(name))
  return name
end

function made.remove(folder)
  for entry in lfs.dir(folder) do
    if entry ~= "." and entry ~= ".." then
      local path = folder .. "/" .. entry
      if lfs.attributes(path, "mode") == "directory" then
        made.remove(path)
      else
        os.remove(path)
      end
    end
  end
  lfs.rmdir(folder)
end

function made.write(path, text, mode)
  local file = assert(io.open(path, mode or "wb"))
  assert(file:write(text))
  file:close()
  return path
end

function made.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

--- Packs a file; the packed one stands beside it.
function made.gzip(path)
  local system = require("perilune.core").system
  local how, code = system.spawn({ "gzip", "-nkf", path }, { stdin = "/dev/null" })
  assert(how == "exit" and code == 0, "gzip failed")
  return path .. ".gz"
end

--- A good line: the n-th, with everything a log line has.
function made.good(n)
  return (
    '{"prompt":"question %d of the \\u00e4ther \\"quoted\\" \u{4e2d}","user_id":"user-%d",'
    .. '"organisation":"org-%d","time":%d}'
  ):format(n, n * 7919 % 997, n % 13, 1600000000 + n)
end

--- Kinds of bad lines: text by number, and a Lua pattern of the reason.
made.bad = {
  { "truncated", function(n) return made.good(n):sub(1, 20 + n % 60) end, "." },
  {
    "a prompt of the wrong type",
    function(n) return ('{"prompt":%d,"user_id":"u"}'):format(n) end,
    "^prompt is a number, not a text$",
  },
  {
    "a user that is a list",
    function() return '{"prompt":"p","user_id":["u"]}' end,
    "^user_id is a table, not a text$",
  },
  { "bad UTF-8", function(n) return ('{"prompt":"p \xff\xfe %d"}'):format(n) end, "utf%-8" },
  { "half a UTF-8 character", function() return '{"prompt":"p \xe4\xb8"}' end, "utf%-8" },
  { "a NUL byte", function(n) return ('{"prompt":"p %d\0"}'):format(n) end, "." },
  {
    "a NUL behind the object",
    function() return '{"prompt":"p"}\0' end,
    "^NUL byte in the text",
  },
  {
    "half a surrogate pair",
    function() return '{"prompt":"p \\ud800"}' end,
    "^half of a surrogate pair",
  },
  {
    "a key that stands twice",
    function(n) return ('{"prompt":"one","prompt":"two %d"}'):format(n) end,
    "^a key stands twice in one object$",
  },
  { "a list", function() return '[{"prompt":"p"}]' end, "^a list, not an object$" },
  { "a bare text", function() return '"prompt"' end, "^a string, not an object$" },
  { "null", function() return "null" end, "^a null, not an object$" },
  { "no prompt", function() return '{"user_id":"u","time":3}' end, "^no prompt$" },
  {
    "prompt and messages that are no list",
    function() return '{"prompt":"p","messages":"m"}' end,
    "^both a prompt and messages$",
  },
  {
    "a rank that is not a number",
    function() return '{"prompt":"p","completions":["a","b"],"ranks":[1,"2"]}' end,
    "^rank 2 is the text '2', not a number$",
  },
  {
    "rankings by nobody of our kind",
    function()
      return '{"prompt":"p","completions":["a","b"],"rankings":[{"labeler":[],"ranks":[1,2]}]}'
    end,
    "`labeler` must be text",
  },
  {
    "half a surrogate in bytes",
    function() return '{"prompt":"p \xed\xa0\x80"}' end,
    "utf%-8",
  },
  {
    "NaN",
    function() return '{"prompt":"p","time":NaN}' end,
    "^NaN and Infinity are not allowed",
  },
  {
    "two objects",
    function() return '{"prompt":"p"}{"prompt":"q"}' end,
    "^unexpected character",
  },
  {
    "messages without roles",
    function() return '{"messages":[{"content":"x"}]}' end,
    "^turn 1 has the role nil",
  },
  {
    "messages that end in a system turn",
    function() return '{"messages":[{"role":"system","content":"x"}]}' end,
    "^the prompt does not end in a user turn$",
  },
  {
    "ranks that do not fit",
    function() return '{"prompt":"p","completions":["a","b"],"ranks":[1]}' end,
    "^ranks are not a list of 2 numbers",
  },
}

--- Two kinds that are too large to be strewn in by the thousand.
made.huge = {
  {
    "nested 100,000 deep",
    function() return '{"prompt":"p","x":' .. ("["):rep(100000) .. ("]"):rep(100000) .. "}" end,
    "^nesting too deep",
  },
  {
    "a line of 50 MB",
    function() return '{"prompt":"' .. ("x"):rep(50 << 20) .. '"}' end,
    "^the line has 52428813 bytes, more than",
  },
}

--- Writes good lines with bad ones strewn in; the bad ones as {line, kind}.
-- @tparam string path
-- @tparam integer good how many good ones
-- @tparam integer bad how many bad ones
-- @tparam function uniform (n) -> a number from 1 to n
function made.strewn(path, good, bad, uniform)
  local file = assert(io.open(path, "wb"))
  file:setvbuf("full", 1 << 20)
  local kinds, expected = {}, {}
  for i = 1, bad do
    kinds[i] = i <= #made.huge and made.huge[i] or made.bad[i % #made.bad + 1]
  end
  for i = bad, 2, -1 do
    local k = uniform(i)
    kinds[i], kinds[k] = kinds[k], kinds[i]
  end
  local left_good, left_bad, line = good, bad, 0
  while left_good + left_bad > 0 do
    line = line + 1
    if uniform(left_good + left_bad) <= left_bad then
      local kind = kinds[left_bad]
      left_bad = left_bad - 1
      file:write(kind[2](line), "\n")
      expected[#expected + 1] = { line = line, kind = kind[1], reason = kind[3] }
    else
      file:write(made.good(good - left_good + 1), "\n")
      left_good = left_good - 1
    end
  end
  file:close()
  return expected
end

return made
