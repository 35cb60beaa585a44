--- Rankings of a round: rows for labelers, what a labeler function says of them, the part that is
-- kept from training, the table of the rounds.

local pl = require("perilune")

local rankings = {}

--- Rows of prompts with K answers each, to be ranked.
-- @tparam Tokenizer tok
-- @tparam {Prompt,...} asked
-- @tparam Answers answers K to each prompt, in order
-- @tparam integer round
-- @treturn {Row,...} each with the fields of its prompt, `id`, `completions`, `completion_tokens`
function rankings.rows(tok, asked, answers, round)
  local rows = {}
  for i, prompt in ipairs(asked) do
    local row = { completions = {}, completion_tokens = {}, completion_finished = {} }
    for key, value in pairs(prompt.row) do
      if row[key] == nil then row[key] = value end
    end
    row.id = ("round-%d-%d"):format(round, i)
    for k = 1, answers.samples do
      local answer = answers[(i - 1) * answers.samples + k]
      row.completions[k] = pl.format.utf8(tok:decode(answer.tokens, { skip_special = true }))
      row.completion_tokens[k] = answer.tokens
      row.completion_finished[k] = answer.finish_reason == "stop"
    end
    rows[i] = row
  end
  return rows
end

-- Calls code of the user's: what it raises is a sentence that names its file.
local function call(path, fn, ...)
  local ok, result = pcall(fn, ...)
  if not ok then error(("labeler %s failed: %s"):format(path, tostring(result)), 0) end
  return result
end

--- A labeler function. Raises when the file gives none.
-- @tparam string path Lua file of f(prompt, answers, row) -> ranks
-- @treturn function that takes a row and gives its ranks; raises when they are no ranks
function rankings.labeler(path)
  local chunk, message = loadfile(path)
  local fn = chunk and call(path, chunk)
  if type(fn) ~= "function" then
    local text = "labeler %s must return a function of (prompt, answers, row)%s"
    error(text:format(path, message and ": " .. message or ""), 0)
  end
  return function(row)
    local prompt = row.prompt or row.messages[#row.messages].content
    local ranks = call(path, fn, prompt, row.completions, row)
    local wanted = #row.completions
    if type(ranks) ~= "table" or #ranks ~= wanted then
      local got = type(ranks) == "table" and #ranks .. " ranks" or "a " .. type(ranks)
      error(("labeler %s gave %s for %d answers"):format(path, got, wanted), 0)
    end
    for i, rank in ipairs(ranks) do
      if math.type(rank) ~= "integer" or rank < 1 or rank > wanted then
        local text = "labeler %s: rank %d is %s; ranks are whole numbers, 1 is best"
        local shown = type(rank) == "number" and pl.format.exact(rank) or tostring(rank)
        error(text:format(path, i, shown), 0)
      end
    end
    return ranks
  end
end

local SHOWN <const> = 60 -- bytes of a prompt in an error

-- What makes a row the same as one that was ranked before: its prompt and its answers.
local function identity(row)
  return pl.json.encode { row.id, row.prompt or row.messages, row.completions }
end

--- Has all rows ranked. Raises, with the prompt, where the labeler fails.
-- @tparam {Row,...} rows each gets `ranks`
-- @tparam function labeler of `rankings.labeler`
-- @tparam {Row,...} before rows that have their ranks already
-- @tparam function keep is given the rows that were ranked when the labeler fails
function rankings.rank(rows, labeler, before, keep)
  local known = {}
  for _, row in ipairs(before) do
    known[identity(row)] = row.ranks
  end
  for i, row in ipairs(rows) do
    local ok, ranks = true, known[identity(row)]
    if not ranks then
      ok, ranks = pcall(labeler, row)
    end
    if not ok and type(ranks) ~= "string" then error(ranks, 0) end
    if not ok then
      keep(table.move(rows, 1, i - 1, 1, {}))
      local text = "%s (prompt %d of %d: '%s'); the rankings before it are kept: mend it, then the "
        .. "same command with --resume goes on"
      local prompt = row.prompt or row.messages[#row.messages].content
      error(text:format(ranks, i, #rows, pl.format.cut(prompt, SHOWN)), 0)
    end
    row.ranks = ranks
  end
end

--- Puts files of rankings aside that a run before this one left in its folder: people may have made
-- them, and this run must not take them for its own.
-- @tparam string ... paths, of files that may not be there
function rankings.put_aside(...)
  for _, path in ipairs { ... } do
    local aside = path:gsub("%.jsonl$", "-of-an-earlier-run.jsonl")
    if pl.files.rename(path, aside) then
      io.stderr:write("rankings of an earlier run are kept as ", pl.format.safe(aside), "\n")
    end
  end
end

--- How many rows of a round are held out.
-- @tparam integer rows of the round, at least 2
-- @tparam number part that is held out, 0 to 1
-- @treturn integer at least 1 and fewer than all
function rankings.held_out(rows, part) return math.min(rows - 1, math.ceil(rows * part)) end

--- How much the ranking of answers would tell a reward model.
-- @tparam Judge judge of reward models
-- @tparam {Prompt,...} asked
-- @tparam Answers answers K to each prompt, in order
-- @tparam string how "disagreement" of its members, or "uncertainty" of it
-- @treturn {number,...} one for each prompt
function rankings.worth(judge, asked, answers, how)
  local sets, sizes = {}, {}
  for i, prompt in ipairs(asked) do
    sets[i], sizes[i] = { sequences = {} }, answers.samples
    for k = 1, answers.samples do
      local tokens = answers[(i - 1) * answers.samples + k].tokens
      local sequence = table.move(prompt.tokens, 1, #prompt.tokens, 1, {})
      sets[i].sequences[k] = table.move(tokens, 1, #tokens, #sequence + 1, sequence)
    end
  end
  local members = judge:members(sets)
  if how == "disagreement" then return select(2, pl.ranking.disagreement(members, sizes)) end
  return pl.ranking.uncertainty(judge:merged(members), sizes)
end

--- The rows that are to be ranked: the first ones as they are, and of the others those that tell
-- most, which are marked as `picked`.
-- @tparam {Row,...} rows
-- @tparam {number,...} worth of each
-- @tparam integer any how many are taken as they are
-- @tparam integer count of all that are taken
-- @treturn {Row,...} in their order
function rankings.choose(rows, worth, any, count)
  local order, taken = {}, {}
  for i = any + 1, #rows do
    order[#order + 1] = i
  end
  table.sort(order, function(a, b)
    if worth[a] ~= worth[b] then return worth[a] > worth[b] end
    return a < b
  end)
  order = table.move(order, 1, count - any, 1, {})
  table.sort(order)
  table.move(rows, 1, any, 1, taken)
  for _, i in ipairs(order) do
    rows[i].picked = true
    taken[#taken + 1] = rows[i]
  end
  return taken
end

--- Deals the rows of a round: the greater part goes to the rankings to train on, and all that were
-- chosen for it.
-- @tparam {Row,...} rows ranked
-- @tparam number part that is held out, 0 to 1; at least one row, and at least one is trained on
-- @tparam integer seed
-- @tparam {Row,...} train list that grows
-- @treturn {Row,...} those held out
function rankings.deal(rows, part, seed, train)
  if #rows < 2 then
    error(("a round has %d ranked rows; at least 2 are wanted"):format(#rows), 0)
  end
  local order = pl.random.permutation(#rows, seed, "rounds.deal")
  local left, held_out = rankings.held_out(#rows, part), {}
  for _, i in ipairs(order) do
    local is_held = left > 0 and not rows[i].picked
    local into = is_held and held_out or train
    into[#into + 1], left = rows[i], left - (is_held and 1 or 0)
  end
  return held_out
end

local HEAD <const> = { "round", "rankings", "RM right", "RM before", "score", "KL, nats", "gold" }

--- The rounds as a table.
-- @tparam {table,...} history of summary.json
-- @treturn string
function rankings.table(history)
  local rows = {}
  local function shown(value, form) return value and pl.format.fixed(form, value) or "-" end
  for i, at in ipairs(history) do
    rows[i] = {
      at.round,
      at.rankings,
      shown(at.rm_accuracy, "%.3f"),
      shown(at.rm_accuracy_before, "%.3f"),
      shown(at.score, "%.3f"),
      shown(at.kl, "%.2f"),
      shown(at.gold, "%.3f"),
    }
  end
  return pl.format.columns(rows, { head = HEAD })
end

return rankings
