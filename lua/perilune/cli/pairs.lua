--- `perilune pairs A B FOLDER | FOLDER RANKED...`: two models' answers for people who do not know
-- whose is whose, and who won.
--
--     perilune pairs A.jsonl B.jsonl FOLDER [--seed N]    writes pairs.jsonl and key.json
--     perilune pairs FOLDER RANKED.jsonl ...              win rate of A over B
--
-- A and B are JSON Lines of {prompt | messages, completion}, or folders of `eval`, whose
-- answers.jsonl is read. Judges get pairs.jsonl alone: {id, prompt | messages, completions}, as
-- to-rank.jsonl of collect. In half of the pairs, drawn by the seed, A stands left. They add
-- `ranks` (1 is best, equal ones tie) and `labeler`, or `rankings`, a list of both for several of
-- them. Who stands where is in key.json alone.
--
-- Equal answers are shown to nobody and are ties. Ties count half; what several say of a pair is
-- one number, their mean, so that the interval (Wilson, 95 %) is over pairs. "Left won" is of the
-- judgements that are no ties: far from one half, judges look at the place. How far labelers agree
-- who judged the same pairs is told as a part of these and as Krippendorff's α, which is 0 where
-- they agree as often as chance would.

local agreement = require("perilune.human.agreement")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local ingest = require("perilune.ingest")
local json = require("perilune.base.json")
local lfs = require("lfs")
local random = require("perilune.base.random")
local sentences = require("perilune.cli.support.sentences")
local stats = require("perilune.base.stats")

local usage = "perilune pairs A B FOLDER [--seed N], or perilune pairs FOLDER RANKED..."

local function is_folder(path) return lfs.attributes(path, "mode") == "directory" end

-- Rows and their lines. Not as training sets are read: an empty answer is an answer here.
local function each(path)
  local next_line, message = ingest.lines(path)
  if not next_line then error(message, 0) end
  return function()
    for line, number in next_line do
      if line:find("%S") then
        local row, wrong = json.decode(line)
        if type(row) ~= "table" or row[1] ~= nil then
          local what = wrong or "no JSON object: JSON Lines have one a line"
          error(("%s:%d: %s"):format(path, number, what), 0)
        end
        return row, number
      end
    end
  end
end

local function question_of(row) return json.encode { row.messages or row.prompt } end

local function hash_of(row) return files.hash_string(json.encode(row.completions)) end

-- The answers of a model: rows in order, and by question the rows not yet taken.
local function answers_of(path)
  if is_folder(path) then path = path .. "/answers.jsonl" end
  local rows, waiting = {}, {}
  for row, number in each(path) do
    if type(row.completion) ~= "string" then
      error(("%s:%d: `completion` is no text"):format(path, number), 0)
    elseif row.prompt == nil and row.messages == nil then
      error(("%s:%d: neither prompt nor messages"):format(path, number), 0)
    end
    local question = question_of(row)
    rows[#rows + 1] = { question = question, row = row }
    waiting[question] = waiting[question] or {}
    table.insert(waiting[question], row)
  end
  return rows, waiting
end

-- Answers of both to the same questions, those that are equal counted, and those of each alone.
local function matched(a, b)
  local mine, theirs = answers_of(a), select(2, answers_of(b))
  local list, equal, alone, left = {}, 0, 0, 0
  for _, one in ipairs(mine) do
    local other = theirs[one.question] and table.remove(theirs[one.question], 1)
    if not other then
      alone = alone + 1
    elseif other.completion == one.row.completion then
      equal = equal + 1
    else
      list[#list + 1] = { row = one.row, a = one.row.completion, b = other.completion }
    end
  end
  for _, rows in pairs(theirs) do
    left = left + #rows
  end
  return list, equal, { a = alone, b = left }
end

local function written(ok, message)
  if not ok then error(message, 0) end
end

local function write(a, b, folder, seed)
  local list, equal, alone = matched(a, b)
  if #list + equal == 0 then error("A and B have no prompt in common", 0) end
  local key, lines = { a = a, b = b, seed = seed, equal = equal, pairs = {} }, {}
  for place, i in ipairs(random.permutation(#list, seed, "pairs.order")) do
    key.pairs[i] = { left = 2 * place <= #list and "a" or "b" }
  end
  for i, one in ipairs(list) do
    local left_is_a = key.pairs[i].left == "a"
    local row = { id = i, prompt = one.row.prompt, messages = one.row.messages }
    row.completions = left_is_a and { one.a, one.b } or { one.b, one.a }
    key.pairs[i].hash, lines[i] = hash_of(row), json.encode(row) .. "\n"
  end
  written(files.folder_make(folder))
  if lfs.attributes(folder .. "/key.json") then
    error(folder .. " holds pairs already; give another folder", 0)
  end
  written(files.write_atomic(folder .. "/pairs.jsonl", table.concat(lines)))
  written(files.write_json(folder .. "/key.json", key))
  local text = "%d pairs in %s/pairs.jsonl; equal answers %d, prompts of A alone %d, of B alone %d"
  print(text:format(#list, format.safe(folder), equal, alone.a, alone.b))
end

-- Adds what one said of a pair.
local function judge(found, pair, ranks)
  local gap = ranks[2] - ranks[1] -- above 0: the left one is better
  local left = gap > 0 and 1 or gap < 0 and 0 or 0.5
  table.insert(pair.wins, pair.left == "a" and left or 1 - left)
  if left == 0.5 then
    found.ties = found.ties + 1
  else
    found.decided, found.left = found.decided + 1, found.left + left
  end
end

local function are_two_ranks(ranks)
  return type(ranks) == "table"
    and #ranks == 2
    and math.type(ranks[1]) ~= nil
    and math.type(ranks[2]) ~= nil
end

-- The pair that a row is of.
local function pair_of(row, key, refuse)
  local id = math.tointeger(row.id)
  local pair = id and key.pairs[id]
  if not pair then
    refuse("there is no pair %s", tostring(row.id))
  elseif type(row.completions) ~= "table" then
    refuse("pair %d has no `completions`: hand the row back as it was shown", id)
  elseif hash_of(row) ~= pair.hash then
    refuse("pair %d has other answers than shown", id)
  end
  return pair, id
end

local function read(path, key, found)
  for row, number in each(path) do
    local function refuse(text, ...)
      local what = text:format(...)
      error(("%s:%d: %s"):format(path, number, what), 0)
    end
    local pair, id = pair_of(row, key, refuse)
    local said = type(row.rankings) == "table" and row.rankings or { row }
    for _, one in ipairs(said) do
      if type(one) ~= "table" then refuse("`rankings` must be a list of {ranks, labeler}") end
      local ranks, who = one.ranks, tostring(one.labeler or path)
      if ranks == nil then
        found.unjudged = found.unjudged + 1
      elseif not are_two_ranks(ranks) then
        refuse("`ranks` must be two numbers")
      else
        pair.wins, pair.by = pair.wins or {}, pair.by or {}
        if pair.by[who] then refuse("%s judged pair %d twice", who, id) end
        pair.by[who] = ranks
        judge(found, pair, ranks)
      end
    end
  end
end

-- What key.json says, held to what `write` puts there.
local function key_of(folder)
  local path = folder .. "/key.json"
  local key, message = files.read_json(path)
  if type(key) ~= "table" then error(message or path .. " cannot be read", 0) end
  local whole = type(key.a) == "string"
    and type(key.b) == "string"
    and math.type(key.equal) == "integer"
    and type(key.pairs) == "table"
  for _, pair in ipairs(whole and key.pairs or {}) do
    whole = whole and type(pair) == "table" and (pair.left == "a" or pair.left == "b")
  end
  if not whole then
    error(path .. " is not what `perilune pairs A B FOLDER` wrote; write the pairs anew", 0)
  end
  return key
end

local function shown(rate) return ("%.3f (%.3f to %.3f)"):format(rate.mean, rate.low, rate.high) end

-- How far those agree who judged the same pairs, as a line.
local function agreed(judged)
  local count = agreement.new()
  for _, pair in ipairs(judged) do
    local rankings = {}
    for who, ranks in pairs(pair.by or {}) do
      rankings[#rankings + 1] = { labeler = who, ranks = ranks }
    end
    table.sort(rankings, function(p, q) return p.labeler < q.labeler end)
    if #rankings > 0 then count:add(rankings) end
  end
  local found = count:result()
  local text = ("labelers %d, pairs judged by two or more %d: "):format(
    #found.labelers,
    found.shared_sets
  )
  if found.shared_sets == 0 then return text .. "no agreement to measure" end
  return ("%sagreement %.3f, Krippendorff's α %s"):format(
    text,
    found.pairwise,
    found.alpha and ("%.3f"):format(found.alpha) or "not defined where all are ties"
  )
end

local function tell(folder, paths)
  local key = key_of(folder)
  local found = { ties = 0, decided = 0, left = 0, unjudged = 0 }
  for _, path in ipairs(paths) do
    read(path, key, found)
  end
  local wins, judged = 0.5 * key.equal, key.equal
  for _, pair in ipairs(key.pairs) do
    if pair.wins then
      wins, judged = wins + stats.mean(pair.wins), judged + 1
    end
  end
  if judged == 0 or #key.pairs > 0 and judged == key.equal then
    local text = "nobody has judged a pair: of %d rows none has `ranks`"
    error(text:format(found.unjudged), 0)
  end
  print(("A is %s, B is %s"):format(format.safe(key.a), format.safe(key.b)))
  local text = "win rate of A over B %s on %d pairs (equal answers %d)"
  print(text:format(shown(stats.rate(wins, judged)), judged, key.equal))
  text = "%d judgements, ties %d, rows without ranks %d"
  print(text:format(found.decided + found.ties, found.ties, found.unjudged))
  if found.decided > 0 then print("left won " .. shown(stats.rate(found.left, found.decided))) end
  if found.decided + found.ties > 0 then print(agreed(key.pairs)) end
end

local function run(args)
  local words, seed, at = {}, 0, 1
  while args[at] do
    if args[at] == "--seed" then
      seed = math.tointeger(tonumber(args[at + 1])) or error("--seed wants an integer", 0)
      at = at + 1
    elseif args[at]:sub(1, 1) == "-" then
      error(("there is no option '%s'; usage: %s"):format(args[at], usage), 0)
    else
      words[#words + 1] = args[at]
    end
    at = at + 1
  end
  if #words < 2 then error("which folders? usage: " .. usage, 0) end
  if lfs.attributes(words[1] .. "/key.json") then
    tell(words[1], { table.unpack(words, 2) })
  elseif #words == 3 then
    write(words[1], words[2], words[3], seed)
  elseif is_folder(words[1]) then
    error(("%s holds no pairs: it has no key.json; usage: %s"):format(words[1], usage), 0)
  else
    error("which folders? usage: " .. usage, 0)
  end
  return 0
end

return sentences("pairs", run)
