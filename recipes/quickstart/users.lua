--- Simulated users of the invented world, and the log they leave behind.
--
-- Activity is heavy-tailed, as Zipf found for words and as server logs show: user r of n sends a
-- share of all prompts proportional to r^-1, so a handful of users send far more than the cap of
-- the rules allows and most send a few. Each user prefers some use cases. Three habits make work
-- for the rules: some users paste the same long preamble before many prompts (near duplicates),
-- some leave personal data of invented people in a prompt, and everybody asks what others asked.
--
-- A row is `{user_id, time, prompt, use_case, messages, task, marks}`. `messages` is the chat to be
-- answered, `prompt` all of its user text, `task` what World:check needs. `marks` tells which habit
-- made the row what it is: tests measure the rules against it, the rules themselves never read it.

local lexicon = require("quickstart.lexicon")
local random = require("perilune").random
local world = require("quickstart.world")

local users = {}

local SECONDS_PER_DAY <const> = 86400
local FIRST_SECOND <const> = 1640995200 -- 2022-01-01, as good a day as any
local DAYS <const> = 90

-- Shares of all prompts by use case: a log is not balanced.
local DEMAND <const> = {
  answer = 0.18,
  verify = 0.10,
  list = 0.08,
  classify = 0.08,
  compare = 0.10,
  describe = 0.06,
  chat = 0.12,
  rewrite = 0.10,
  count = 0.07,
  sort = 0.07,
  complete = 0.04,
}

local function zipf_counts(n_users, n_rows)
  local total = 0
  for rank = 1, n_users do
    total = total + 1 / rank
  end
  local counts, given = {}, 0
  for rank = 1, n_users do
    counts[rank] = math.max(1, math.floor(n_rows / rank / total))
    given = given + counts[rank]
  end
  counts[1] = math.max(1, counts[1] + n_rows - given)
  return counts
end

local function mail_address(rng)
  return ("%s @ %s . %s"):format(
    rng:pick(lexicon.given_names),
    rng:pick(lexicon.mail_hosts),
    lexicon.mail_ends[1]
  )
end

local function street_address(rng)
  return ("%s %s %s"):format(
    rng:pick(lexicon.numbers),
    rng:pick(lexicon.street_names),
    rng:pick(lexicon.street_kinds)
  )
end

local function full_name(rng)
  return rng:pick(lexicon.given_names) .. " " .. rng:pick(lexicon.family_names)
end

local function titled_name(rng)
  return rng:pick(lexicon.titles) .. " " .. rng:pick(lexicon.family_names)
end

-- Ways to leave personal data before an instruction: {kind, pattern, what goes into it}.
local PERSONAL <const> = {
  { "name", "my name is @ .", full_name },
  { "name", "i am @ .", titled_name },
  { "name", "@ wants to know this :", full_name },
  { "mail", "write to @ .", mail_address },
  { "mail", "my mail is @ ;", mail_address },
  { "address", "i live at @ .", street_address },
  { "address", "send it to @ :", street_address },
}

-- Words that look personal and are not: a filter that catches these is too eager.
users.HARMLESS = {
  "i hear a bell .",
  "the reed by the river is green .",
  "there is a lane by the mill .",
  "the harbour and the street are far .",
  "i have two mail bags .",
}

local PREAMBLE_PARTS <const> = {
  {
    "i am writing a book",
    "we play a long game",
    "my class has to learn",
    "i want to make a song",
    "my friends and i talk",
  },
  {
    "about the animals of the @",
    "about all that lives in the @",
    "about life in the @",
    "about the @ and its plants",
  },
  {
    "and there is one thing i do not know , so here it is :",
    "and i need to know one thing before the evening :",
    "and you are the one who can help me with this :",
  },
}

--- A long opening that a user pastes before prompt after prompt.
-- @tparam Stream rng of pl.random
-- @treturn string at least twelve tokens
function users.preamble(rng)
  local parts = {}
  for i, choices in ipairs(PREAMBLE_PARTS) do
    parts[i] = rng:pick(choices):gsub("@", rng:pick(lexicon.places))
  end
  return table.concat(parts, " ")
end

local function prepend(instruction, text)
  local first = 1
  while instruction.messages[first].role ~= "user" do
    first = first + 1
  end
  local message = instruction.messages[first]
  message.content = text .. " " .. message.content
  instruction.prompt = world.prompt_text(instruction.messages)
end

local function user_habits(seed, id)
  local rng = random.stream(seed, "quickstart.habits", id)
  local tastes = {}
  for use_case, share in pairs(DEMAND) do
    tastes[use_case] = share * (0.4 + 1.2 * random.real(seed, "quickstart.taste", id, use_case))
  end
  return {
    tastes = tastes,
    pastes = rng:chance(0.3) and 0.3 or 0.02,
    careless = rng:chance(0.4) and 0.12 or 0.02,
    preamble = users.preamble(rng),
  }
end

local function write_row(w, id, habits, rng)
  local row = w:instruction(rng:weighted(habits.tastes), rng)
  local marks = {}
  if rng:chance(habits.pastes) then
    prepend(row, habits.preamble)
    marks.preamble = true
  elseif rng:chance(habits.careless) then
    local kind, pattern, what = table.unpack(rng:pick(PERSONAL))
    prepend(row, (pattern:gsub("@", (what(rng)))))
    marks.personal = kind
  elseif rng:chance(0.02) then
    prepend(row, rng:pick(users.HARMLESS))
    marks.harmless = true
  end
  row.user_id, row.marks = id, marks
  row.time = FIRST_SECOND + rng:int(0, DAYS * SECONDS_PER_DAY - 1)
  return row
end

--- The log of instructions that users left, in order of time.
-- @tparam World w
-- @tparam table opts `{rows = 10000, users = 250, seed = world's seed}`
-- @treturn table list of rows
function users.log(w, opts)
  opts = opts or {}
  local seed = opts.seed or w.seed
  local rows = {}
  for rank, count in ipairs(zipf_counts(opts.users or 250, opts.rows or 10000)) do
    local number = random.purpose("quickstart.user", seed, rank) % 900 + 100
    local id = ("u%03d-%d"):format(number, rank)
    local habits = user_habits(seed, id)
    local rng = random.stream(seed, "quickstart.log", id)
    for _ = 1, count do
      rows[#rows + 1] = write_row(w, id, habits, rng)
    end
  end
  table.sort(rows, function(a, b)
    if a.time ~= b.time then return a.time < b.time end
    return a.user_id .. a.prompt < b.user_id .. b.prompt
  end)
  return rows
end

return users
