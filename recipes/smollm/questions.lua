--- Questions and answers of the smollm recipe, read from public sets of instructions.
--
-- Two forms are known, one JSON object a line: self-instruct's {instruction, instances = {{input,
-- output}}} (Wang et al. 2023, arXiv:2212.10560) and MT-bench's {turns} (Zheng et al. 2023,
-- arXiv:2306.05685), of which the first turn is taken.

local brief = require("smollm.brief")
local pl = require("perilune")

local questions = {}

local function of_row(row)
  if type(row.turns) == "table" and type(row.turns[1]) == "string" then
    return { prompt = row.turns[1] }
  elseif type(row.instruction) == "string" then
    local first = type(row.instances) == "table" and row.instances[1] or {}
    local input = type(first.input) == "string" and first.input or ""
    return {
      prompt = input == "" and row.instruction or row.instruction .. "\n\n" .. input,
      completion = type(first.output) == "string" and first.output or nil,
    }
  end
end

--- Reads the files of a list, "a.jsonl,b.jsonl".
-- @tparam string paths
-- @treturn {table,...} rows {prompt, completion or nil}
function questions.read(paths)
  local rows = {}
  for path in paths:gmatch("[^,%s]+") do
    local text, message = pl.files.read(path)
    if not text then error(("questions %s cannot be read: %s"):format(path, message), 0) end
    local number, before = 0, #rows
    for line in text:gmatch("[^\n]+") do
      number = number + 1
      local row = pl.json.decode(line)
      rows[#rows + 1] = type(row) == "table" and of_row(row)
        or error(
          ("%s:%d: neither {instruction, instances} nor {turns}: is it self-instruct's or "):format(
            path,
            number
          ) .. "MT-bench's form?",
          0
        )
    end
    if #rows == before then error(("questions %s: the file is empty"):format(path), 0) end
  end
  return rows
end

--- Rows whose question is short.
-- @tparam {table,...} rows
-- @tparam integer words at most
-- @treturn {table,...}
function questions.short(rows, words)
  local kept = {}
  for _, row in ipairs(rows) do
    if #brief.words(row.prompt) <= words then kept[#kept + 1] = row end
  end
  return kept
end

--- Rows as prompts alone.
-- @tparam {table,...} rows
-- @treturn {table,...}
function questions.prompts(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = { prompt = row.prompt }
  end
  return list
end

-- The sentences that an answer begins with, as many as 30 words hold; nil when it begins with none.
local function first_sentences(answer)
  local kept
  for stop in (answer .. " "):gmatch("()%.%s") do
    local part = answer:sub(1, stop)
    if #brief.words(part) <= brief.MOST then kept = part end
  end
  return kept
end

--- Demonstrations: of each answer the sentences it begins with, where they keep the brief and are
-- of one line.
-- @tparam {table,...} rows
-- @tparam integer most how many
-- @treturn {table,...}
function questions.demonstrations(rows, most)
  local list = {}
  for _, row in ipairs(rows) do
    local answer = row.completion and first_sentences(row.completion)
    if answer and not answer:find("\n") and #list < most then
      local parts = brief.parts(row.prompt, answer, true)
      list[#list + 1] = brief.kept(parts) and { prompt = row.prompt, completion = answer } or nil
    end
  end
  return list
end

--- The lines of a text, each once, blank ones left out.
-- @tparam string path
-- @treturn {table,...} rows {text}
-- @treturn integer lines left out because they stood before
function questions.lines(path)
  local text, message = pl.files.read(path)
  if not text then error(("text %s cannot be read: %s"):format(path, message), 0) end
  local rows, seen, repeated = {}, {}, 0
  for line in text:gmatch("[^\r\n]+") do
    if seen[line] then
      repeated = repeated + 1
    elseif line:find("%S") then
      seen[line] = true
      rows[#rows + 1] = { text = line }
    end
  end
  return rows, repeated
end

--- Deals rows to training and held-out side, in an order drawn by the seed.
-- @tparam {table,...} rows
-- @tparam integer held_out how many are kept apart
-- @tparam integer seed
-- @tparam ?string what the rows are, for messages (default: "questions")
-- @treturn {table,...} training side
-- @treturn {table,...} held-out side
function questions.deal(rows, held_out, seed, what)
  if #rows <= held_out then
    error(
      ("%d %s, and %d are to be held out: none would be left"):format(
        #rows,
        what or "questions",
        held_out
      ),
      0
    )
  end
  local order = pl.random.permutation(#rows, seed, "smollm.deal")
  local sides = { {}, {} }
  for place, i in ipairs(order) do
    local side = sides[place <= held_out and 2 or 1]
    side[#side + 1] = rows[i]
  end
  return sides[1], sides[2]
end

return questions
