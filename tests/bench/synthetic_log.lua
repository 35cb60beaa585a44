--- A synthetic log of API use, for measuring how data are read and cleaned.
--
--     perilune tests/bench/synthetic_log.lua ROWS OUT.jsonl [SEED] [USERS]
--
-- One JSON object a line: time, user_id, organisation, prompt. What it is like:
--
--   users       USERS of them (200,000); the k-th most active asks in proportion to 1 / (k + 10),
--               so that a few hundred ask far more than 200 times and most ask a few times
--   prompts     three in ten are an instruction kept by an organisation, long and always the same,
--               followed by a short case of its own: long common prefixes. One in twenty repeats an
--               earlier prompt with another case and other blanks; the rest are of drawn words
--   people      one in twelve holds a made-up name, e-mail address, telephone number, street, IBAN
--               or address of a computer. No real person's data is here: the names are common ones
--               drawn apart, numbers are of ranges kept for examples
--
-- The same arguments give the same bytes: the only source of chance is the seeded generator below.
-- 10 million rows are about 2.3 GB.

local rows, path = math.tointeger(tonumber(arg[1])), arg[2]
if not rows or rows < 0 or not path then
  io.stderr:write("usage: perilune tests/bench/synthetic_log.lua ROWS OUT.jsonl [SEED] [USERS]\n")
  os.exit(2)
end
local seed = math.tointeger(tonumber(arg[3] or 1)) or 1
local users = math.tointeger(tonumber(arg[4] or 200000)) or 200000

math.randomseed(seed, 20240531)
local random, floor = math.random, math.floor

local function words(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = word
  end
  return list
end

local subjects = words([[recipe letter poem story summary plan question email review speech report
  lesson joke title headline dialogue list essay caption slogan argument contract manual note song
  riddle schedule invitation translation outline]])
local topics = words([[garden winter bicycle ocean kitchen library mountain market school river
  engine island festival budget family museum orchard railway theatre harvest telescope village
  violin lantern harbour bakery desert forest glacier meadow castle printer server keyboard database
  compiler spreadsheet invoice holiday wedding interview painting basketball chess marathon]])
local qualities = words([[short long cheerful sober formal friendly simple detailed vivid careful
  honest gentle bold quiet modern old-fashioned precise playful patient clever]])
local verbs = words([[Write Draft Explain Summarise Improve Translate Rewrite Compose Prepare
  Describe]])
local fillers = words([[about the with for and from into under beside without before after during
  between around toward against within]])
local first_names = words([[Anna Bruno Carla David Elena Felix Greta Hugo Irene Jonas Klara Leon
  Maria Nils Olga Peter Rosa Simon Tessa Victor]])
local last_names = words([[Adler Brandt Castillo Dawson Eriksen Fischer Garner Hoffman Ivanov Jensen
  Keller Larsen Moreau Novak Olsen Petrov Quinn Rossi Schmidt Turner]])
local streets = words("Oak Mill Church Station Garden Park Bridge Lake Hill River")

local function one(list) return list[random(#list)] end

local function phrase(count)
  local parts = {}
  for i = 1, count do
    parts[i] = i % 3 == 0 and one(fillers) or i % 3 == 1 and one(qualities) or one(topics)
  end
  return table.concat(parts, " ")
end

local personal = {
  function() return ("My name is %s %s."):format(one(first_names), one(last_names)) end,
  function()
    return ("Answer to %s.%s@example.org please."):format(
      one(first_names):lower(),
      one(last_names):lower()
    )
  end,
  function() return ("Call me at +1 (555) 555-01%02d."):format(random(0, 99)) end,
  function() return ("I live at %d %s Street."):format(random(1, 240), one(streets)) end,
  function() return "Pay to GB82 WEST 1234 5698 7654 32." end,
  function() return ("The server is 192.0.2.%d."):format(random(1, 254)) end,
}

--- The standing instructions of organisations.
local instructions = {}
for i = 1, 400 do
  instructions[i] = (
    "You are an assistant of team %d. Keep these rules: be %s, be %s, never "
    .. "mention the %s, always end with a word about the %s. %s a %s text for the following case, "
    .. "in the manner of a %s. Case: "
  ):format(
    i,
    one(qualities),
    one(qualities),
    one(topics),
    one(topics),
    one(verbs),
    one(qualities),
    one(subjects)
  )
end

--- The rank of the user of a draw: with weight 1 / (k + 10) the sum up to k is near ln(k + 10),
-- which is turned round.
local low = math.log(10.5)
local span = math.log(users + 10.5) - low

local function draw_user()
  local k = floor(math.exp(low + span * random()) - 9.5)
  return k < 1 and 1 or k > users and users or k
end

local earlier, earlier_count, EARLIER <const> = {}, 0, 4096

local function fresh_prompt()
  return ("%s a %s %s about the %s, %s"):format(
    one(verbs),
    one(qualities),
    one(subjects),
    one(topics),
    phrase(random(4, 24))
  )
end

local function draw_prompt(user)
  local kind = random()
  local text
  if kind < 0.3 then
    text = instructions[(user * 7919) % #instructions + 1] .. phrase(random(3, 9))
  elseif kind < 0.35 and earlier_count > 0 then
    text = earlier[random(math.min(earlier_count, EARLIER))]
    text = random() < 0.5 and text:upper() or text:gsub(" ", "  ", 3)
  else
    text = fresh_prompt()
    earlier[earlier_count % EARLIER + 1] = text
    earlier_count = earlier_count + 1
  end
  if random() < 1 / 12 then text = text .. " " .. one(personal)() end
  return text
end

local file, message = io.open(path, "wb")
if not file then
  io.stderr:write(message, "\n")
  os.exit(1)
end
file:setvbuf("full", 1 << 20)
local time = 1640995200
local chunk, n = {}, 0
for row = 1, rows do
  local user = draw_user()
  time = time + random(0, 6)
  n = n + 1
  -- The texts hold no quote, backslash or control character: they are JSON as they are.
  chunk[n] = ('{"time":%d,"user_id":"user-%06d","organisation":"org-%03d","prompt":"%s"}\n'):format(
    time,
    user,
    user % 400,
    draw_prompt(user)
  )
  if n == 4096 or row == rows then
    local ok, wrong = file:write(table.concat(chunk, "", 1, n))
    if not ok then
      io.stderr:write(wrong, "\n")
      os.exit(1)
    end
    n = 0
  end
end
file:close()
