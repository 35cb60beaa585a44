--- Held-out tasks: what a model knew before it was trained, and whether it still does.
--
-- A task is a file of rows of one of two kinds; `prompt` or `messages` is put to the model as any
-- prompt is, with its chat template.
--
--   {prompt, choices = {text, ...}, answer = index from 0}      the likeliest choice c is taken:
--     accuracy        of L(c) = Σ_t ln p(c_t | prompt, c_<t) over the tokens of the choice, without
--                     an end token
--     accuracy_norm   of L(c) / |c|, |c| the characters of the choice without white space around it
--   {prompt, answer = text}                                     the greedy answer is taken:
--     accuracy        it is the text, white space around both aside
--
-- The two of choices are acc and acc_norm of EleutherAI's lm-evaluation-harness; of equals the
-- first choice is taken. A choice is spelled as it stands: without a template it begins with the
-- blank that parts it from the prompt.

local accounts = require("perilune.data.accounts")
local batch = require("perilune.data.batch")
local companions = require("perilune.learn.companions")
local core = require("perilune.core")
local data = require("perilune.data")
local encode = require("perilune.data.encode")
local format = require("perilune.base.format")
local generate = require("perilune.model.generate")
local list = require("perilune.base.list")
local loss = require("perilune.learn.loss")
local reading = require("perilune.data.reading")
local stats = require("perilune.base.stats")

local tasks = {}

local FORMS <const> = "rows of {prompt, choices, answer} or {prompt, answer}, one a line"
local MAX_TOKENS <const> = 16384 -- of choices that are packed at a time

--- A held-out task.
-- @class HeldOutTask
-- @field string name the stem of its file
-- @field string path of its file
-- @field string kind "choices" or "text"
-- @field RowCounts counts of its rows
-- @field {{right=any},...} items the rows as token ids; `right`: the right choice's place
--   from 1, or the right text
local Task = {}
Task.__index = Task
Task.__name = "task"

local function trimmed(text) return text:match("^%s*(.-)%s*$") end

-- Characters, or bytes of what is no UTF-8.
local function characters(text) return utf8.len(text) or #text end

-- What a value of JSON is, in words.
local function kind_of(value)
  if value == nil then return "nothing" end
  return type(value) == "userdata" and "null" or "a " .. type(value)
end

-- {prompt, sequences, masks, sizes, right} of a row of choices, or nil and what is wrong.
local function of_choices(tok, template, row, prompt)
  local choices, answer = row.choices, math.tointeger(row.answer)
  if type(choices) ~= "table" or #choices < 2 then
    return nil, "`choices` must be a list of two texts or more"
  elseif type(row.answer) ~= "number" or not answer or answer < 0 or answer >= #choices then
    local text = "`answer` must be the place of the right choice, from 0 to %d, not %s"
    local got = type(row.answer) == "number" and tostring(row.answer) or kind_of(row.answer)
    return nil, text:format(#choices - 1, got)
  end
  local item = { sequences = {}, masks = {}, sizes = {}, right = answer + 1, longest = 0 }
  for k, choice in ipairs(choices) do
    if type(choice) ~= "string" or trimmed(choice) == "" then
      return nil,
        ("choice %d is %s, not a text"):format(
          k - 1,
          type(choice) == "string" and "blank" or kind_of(choice)
        )
    end
    if k <= answer and choice == choices[answer + 1] then
      item.changed = "right choice never taken: an earlier one is equal"
    end
    local ids, wrong = encode.answer(tok, template, prompt, choice, false)
    if not ids then return nil, ("choice %d: %s"):format(k - 1, wrong) end
    item.sequences[k], item.masks[k] = encode.join(prompt, ids)
    item.sizes[k] = characters(trimmed(choice))
    item.longest = math.max(item.longest, #item.sequences[k])
  end
  return item
end

-- {prompt, right} of a row of text, or nil and what is wrong.
local function of_text(tok, template, row, prompt, response_length)
  if type(row.answer) ~= "string" or trimmed(row.answer) == "" then
    local text = "`answer` must be a text, or beside `choices` the place of the right one, not %s"
    return nil, text:format(type(row.answer) == "string" and "blank" or kind_of(row.answer))
  end
  local item = { prompt = prompt, right = trimmed(row.answer) }
  local ids, wrong = encode.answer(tok, template, prompt, item.right, false)
  if not ids then return nil, wrong end
  if #ids > response_length then
    item.changed = ("right answer never met: longer than response_length %d"):format(
      response_length
    )
  end
  return item
end

-- An item of a row, as what kind the task is; or nil, what is wrong, and "template" when that alone
-- is wrong.
local function item_of(task, tok, template, row)
  local prompt, wrong, why = encode.prompt(tok, template, row)
  if not prompt then return nil, wrong, why end
  local kind = row.choices ~= nil and "choices" or "text"
  if task.kind and task.kind ~= kind then
    return nil, ("a task has choices in all rows or in none: this one is of %s"):format(kind)
  end
  task.kind = kind
  if kind == "choices" then return of_choices(tok, template, row, prompt) end
  return of_text(tok, template, row, prompt, task.response_length)
end

-- Reads the rows of a task. `longest`: tokens of a sequence; `room()`: of a prompt that leaves room
-- for an answer, which no choice needs.
local function read(task, tok, template, longest, room)
  local account, items = accounts.new(), {}
  for row, number in reading.each(task.path, account, false, FORMS) do
    local item, wrong, why = item_of(task, tok, template, row)
    local is_text = task.kind == "text"
    if not item then
      reading.reject(account, task.path, "row", number, wrong, why)
    elseif is_text and #item.prompt > room() or not is_text and item.longest > longest then
      account:leave_out("too long")
    else
      account:use()
      if item.changed then account:change(item.changed, 1) end
      items[#items + 1] = item
    end
  end
  task.items, task.counts = items, account:close()
  return data.required(task, "tasks", task.path)
end

-- What a file is called in figures.
local function stem(path)
  local name = path:match("[^/]*$"):gsub("%.gz$", "")
  return name:match("^(.+)%.[^.]*$") or name
end

--- The tasks that a key names. Raises, with file and line, at a row that is wrong; where nothing in
-- a file can be used; and when two files have one name.
-- @tparam string text paths of JSON Lines, separated by commas
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam {table,...} models that are to answer, as `companions.check` takes them
-- @tparam integer response_length of the longest answer to a row of text, tokens
-- @treturn {HeldOutTask,...} none for an empty text
function tasks.open(text, tok, template, models, response_length)
  local opened, by_name, contexts = {}, {}, {}
  for i, one in ipairs(models) do
    contexts[i] = one.model
  end
  local longest = data.room(contexts, math.maxinteger)
  for path in text:gmatch("[^,]+") do
    path = trimmed(path)
    local name = stem(path)
    if by_name[name] then
      local wrong = "tasks %s and %s are both called %s: give one of the files another name"
      error(wrong:format(by_name[name], path, name), 0)
    end
    by_name[name] = path
    local task = setmetatable({
      name = name,
      path = path,
      response_length = response_length,
      tokenizer = tok,
      stops = data.stop_ids(tok, template),
    }, Task)
    local function room() return (companions.room(models, math.maxinteger, response_length)) end
    opened[#opened + 1] = read(task, tok, template, longest, room)
  end
  if text ~= "" and #opened == 0 then error(("tasks '%s' names no file"):format(text), 0) end
  return opened
end

-- The place of the greatest; of equals the first.
local function likeliest(values)
  local best = 1
  for k = 2, #values do
    if values[k] > values[best] then best = k end
  end
  return best
end

--- The log-likelihood of each choice of each row. Raises for a task of texts.
-- @tparam Model model
-- @treturn {{number,...},...} nats, of each row its choices in order
function Task:likelihoods(model)
  if self.kind ~= "choices" then error(("the task %s has no choices"):format(self.name), 2) end
  local sequences, masks, sums = {}, {}, {}
  for _, item in ipairs(self.items) do
    list.append(sequences, item.sequences)
    list.append(masks, item.masks)
  end
  for _, places in ipairs(batch.split(sequences, MAX_TOKENS)) do
    local scope <close> = core.scope("tasks.choices")
    local some, trained = list.take(sequences, places), list.take(masks, places)
    local parts = batch.parts(some, trained)
    local logps, at = loss.sequence_logprobs(model, parts):totable(), 0
    for i, mask in ipairs(trained) do
      local first = #sums + 1
      sums[first] = 0
      for t = 2, #some[i] do
        if mask[t] == 1 then
          at = at + 1
          sums[first] = sums[first] + logps[at]
        end
      end
    end
  end
  local rows, at = {}, 0
  for i, item in ipairs(self.items) do
    rows[i] = table.move(sums, at + 1, at + #item.sequences, 1, {})
    at = at + #item.sequences
  end
  return rows
end

local function choose(task, model)
  local right, right_norm = {}, {}
  for i, likelihoods in ipairs(task:likelihoods(model)) do
    local item, by_length = task.items[i], {}
    for k, sum in ipairs(likelihoods) do
      by_length[k] = sum / item.sizes[k]
    end
    right[i] = likeliest(likelihoods) == item.right and 1 or 0
    right_norm[i] = likeliest(by_length) == item.right and 1 or 0
  end
  return { accuracy = right, accuracy_norm = right_norm }
end

local function write(task, model)
  local scope <close> = core.scope("tasks.texts")
  local prompts, right = {}, {}
  for i, item in ipairs(task.items) do
    prompts[i] = item.prompt
  end
  local answers = generate.generate(model, prompts, {
    max_tokens = task.response_length,
    temperature = 0,
    stop = task.stops,
  })
  for i, item in ipairs(task.items) do
    local text = task.tokenizer:decode(answers[i].tokens, { skip_special = true })
    right[i] = trimmed(text) == item.right and 1 or 0
  end
  return { accuracy = right }
end

--- Which rows a model gets right.
-- @tparam Model model
-- @treturn {[string]={integer,...}} of each row 1 (right) or 0 (wrong): `accuracy`, and of choices
--   `accuracy_norm`
function Task:answers(model)
  return self.kind == "choices" and choose(self, model) or write(self, model)
end

--- The figures of a model, and of its reference beside them. Raises where there is no row.
-- @tparam {[string]={integer,...}} mine of `HeldOutTask:answers`
-- @tparam ?{[string]={integer,...}} theirs the same of the reference
-- @treturn {[string]=any} `n`; `accuracy` and `accuracy_ci95` (Wilson's low and high) as fractions
--   of the rows; with a reference `reference_accuracy`, its `_ci95`, and `accuracy_gain`, the mean
--   over rows of what the model has more, whose `_ci95` (Student's, of pairs) wants two rows; of
--   choices the same of `accuracy_norm`
function tasks.figures(mine, theirs)
  for _, one in ipairs { mine or {}, theirs or nil } do
    if type(one.accuracy) ~= "table" or #one.accuracy == 0 then
      error("tasks.figures takes what HeldOutTask:answers gives, of one row or more", 2)
    end
  end
  local figures = { n = #mine.accuracy }
  for name, right in pairs(mine) do
    local rate = stats.rate(stats.sum(right), #right)
    figures[name], figures[name .. "_ci95"] = rate.mean, { rate.low, rate.high }
    if theirs then
      local other = theirs[name]
      local theirs_rate = stats.rate(stats.sum(other), #other)
      figures["reference_" .. name] = theirs_rate.mean
      figures["reference_" .. name .. "_ci95"] = { theirs_rate.low, theirs_rate.high }
      figures[name .. "_gain"] = rate.mean - theirs_rate.mean
      if #right > 1 then
        local gain = stats.paired(right, other)
        figures[name .. "_gain_ci95"] = { gain.low, gain.high }
      end
    end
  end
  return figures
end

local function shown(value, ci95, form)
  if not value then return "-" end
  if not ci95 then return form:format(value) end
  local low, high = format.fixed(form, ci95[1]), format.fixed(form, ci95[2])
  return ("%s (%s to %s)"):format(format.fixed(form, value), low, high)
end

--- The figures of tasks as a table for people.
-- @tparam {[string]=table} by_name figures of `tasks.figures` by the names of the tasks
-- @treturn string a row a task and a row for each of its measures
function tasks.told(by_name)
  local names, rows, with_reference = {}, {}, false
  for name, figures in pairs(by_name) do
    names[#names + 1] = name
    with_reference = with_reference or figures.reference_accuracy ~= nil
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local of = by_name[name]
    for _, measure in ipairs { "accuracy", "accuracy_norm" } do
      local function cell(key, form) return shown(of[key], of[key .. "_ci95"], form) end
      if of[measure] then
        local row = { format.safe(name), of.n, measure, cell(measure, "%.3f") }
        if with_reference then
          row[5] = cell("reference_" .. measure, "%.3f")
          row[6] = cell(measure .. "_gain", "%+.3f")
        end
        rows[#rows + 1] = row
      end
    end
  end
  local head = { "task", "rows", "measure", "model" }
  if with_reference then
    head[5], head[6] = "reference", "gain"
  end
  return format.columns(rows, { head = head })
end

return tasks
