--- The shapes in which data sets write prompts, answers and rankings: from one record (a table, as
-- JSON gives it) to canonical rows.
--
-- `forms[name](record, out, opts)` appends rows to `out` and gives how many; when it is 0, also
-- the reason, and true when such a record holds no row by nature (it is skipped, not bad). Rows
-- are not checked here. `opts.extra == false` leaves the other fields of a record out.
--
--   rows           prompts and messages under the usual names; HF's prompt/completion,
--                  prompt/chosen/rejected, chosen/rejected, completions and ranks, text
--   hh             the same, transcripts of "\n\nHuman:" and "\n\nAssistant:" told by themselves
--   alpaca         instruction, input, output
--   sharegpt       conversations of from and value
--   self_instruct  instruction with instances of input and output
--   turns          questions in several turns (the first is taken: the others want answers before)
--   oasst          message trees: a row for each prompter's turn with at least two ranked replies
--   pandalm        instruction, input, response1, response2 and a column for each annotator

local row_fields = require("perilune.ingest.row_fields")
local turns = require("perilune.ingest.turns")

local forms = {}

local collect, add_extra = row_fields.collect, row_fields.add_extra

local function with_input(instruction, input)
  if type(instruction) ~= "string" then
    return nil, ("instruction is a %s, not a text"):format(type(instruction))
  elseif input ~= nil and type(input) ~= "string" then
    return nil, ("input is a %s, not a text"):format(type(input))
  elseif input and input:find("%S") then
    return instruction .. "\n\n" .. input
  end
  return instruction
end

local function put(out, row)
  out[#out + 1] = row
  return 1
end

-- ---- the usual names, Hugging Face's forms and HH transcripts --------

local pair_keys = { chosen = true, rejected = true }

--- An answer given as text, or as a list of one assistant turn.
local function answer_text(answer)
  if type(answer) ~= "table" then
    return answer
  end
  local turn = answer[#answer]
  return #answer == 1 and type(turn) == "table" and (turn.content or turn.value) or answer
end

--- Puts what stands under `prompt` into the row: text, transcript or turns.
local function put_prompt(row, prompt)
  row.prompt = nil
  local messages, reason
  if type(prompt) == "table" then
    messages, reason = turns.messages(prompt)
    if not messages then
      return reason
    end
  else
    messages = turns.transcript(prompt)
    local last = messages and messages[#messages]
    if last and last.role == "assistant" and last.content == "" then
      messages[#messages] = nil -- "...\n\nAssistant:" asks for what comes next
    end
  end
  if messages then
    return turns.set_prompt(row, messages)
  end
  row.prompt = prompt
end

local function dialogue(value)
  if type(value) == "string" then
    return turns.transcript(value)
  end
  return turns.messages(value)
end

--- Chosen and rejected without a prompt of their own: what both begin with is the prompt.
local function implicit_pair(row, chosen, rejected)
  if type(chosen) ~= type(rejected) then
    return "chosen and rejected are of different kinds"
  end
  local a, reason = dialogue(chosen)
  local b, other = dialogue(rejected)
  if a and b then
    local common, x, y = turns.common(a, b)
    if not common then
      return x, y
    end
    reason = turns.set_prompt(row, common)
    row.completions = { x, y }
    return reason
  elseif type(chosen) ~= "string" then
    return reason or other
  elseif chosen == rejected then
    return "both answers are the same", true
  end
  row.prompt, a, b = turns.common_text(chosen, rejected)
  row.completions = { a, b }
  if row.prompt == "" then
    return "no prompt, and the two answers begin differently"
  end
end

local function pair(row, record)
  local chosen, rejected = record.chosen, record.rejected
  if chosen == nil or rejected == nil then
    return "chosen without rejected, or the other way round"
  end
  row.ranks = { 1, 2 }
  if row.prompt == nil and row.messages == nil then
    return implicit_pair(row, chosen, rejected)
  end
  -- Some sets write the whole dialogue under both, with the prompt once more.
  if type(chosen) == "table" and #chosen > 1 then
    row.prompt, row.messages = nil, nil
    return implicit_pair(row, chosen, rejected)
  end
  row.completions = { answer_text(chosen), answer_text(rejected) }
  if row.completions[1] == row.completions[2] then
    return "both answers are the same", true
  end
  local prompt = row.prompt or row.messages
  row.messages = nil
  return put_prompt(row, prompt)
end

function forms.rows(record, out, opts)
  if record.chosen ~= nil or record.rejected ~= nil then
    local row = collect(record, pair_keys, opts.extra)
    local reason, skipped = pair(row, record)
    if reason then
      return 0, reason, skipped
    end
    return put(out, row)
  end
  local row = collect(record, nil, opts.extra)
  local reason
  local prompt = row.prompt
  if type(row.messages) == "table" then -- a prompt beside them is their beginning once more
    local messages = row.messages
    row.prompt, row.messages = nil, nil
    messages, reason = turns.messages(messages)
    if messages and row.completion == nil and row.completions == nil then
      reason = turns.set_dialogue(row, messages)
    elseif messages then
      reason = turns.set_prompt(row, messages)
    end
  elseif type(prompt) == "table" then
    reason = put_prompt(row, prompt)
  elseif type(prompt) == "string" and prompt:find("Human:", 1, true) then
    local messages = turns.transcript(prompt)
    if messages and row.completion == nil and row.completions == nil
      and messages[#messages].content ~= "" then
      row.prompt = nil
      reason = turns.set_dialogue(row, messages)
    elseif messages then
      reason = put_prompt(row, prompt)
    end
  end
  if reason then
    return 0, reason
  elseif record.label == false and row.completion then
    return 0, "an answer that is labelled as bad, without a better one", true
  end
  row.completion = answer_text(row.completion)
  if type(row.completions) == "table" then
    for i, answer in ipairs(row.completions) do
      row.completions[i] = answer_text(answer)
    end
  end
  return put(out, row)
end

forms.hh = forms.rows

-- ---- demonstrations --------

local alpaca_keys = { instruction = true, input = true, output = true, text = true, prompt = true }

function forms.alpaca(record, out, opts)
  local prompt, reason = with_input(record.instruction, record.input)
  if not prompt then
    return 0, reason
  elseif type(record.output) ~= "string" then
    return 0, ("output is a %s, not a text"):format(type(record.output))
  end
  local row = collect(record, alpaca_keys, opts.extra)
  row.prompt, row.completion = prompt, record.output
  return put(out, row)
end

local sharegpt_keys = { conversations = true, conversation = true, system = true }

function forms.sharegpt(record, out, opts)
  local messages, reason = turns.messages(record.conversations or record.conversation)
  if not messages then
    return 0, reason
  elseif type(record.system) == "string" and record.system ~= "" then
    table.insert(messages, 1, { role = "system", content = record.system })
  end
  local row = collect(record, sharegpt_keys, opts.extra)
  reason = turns.set_dialogue(row, messages)
  if reason then
    return 0, reason
  end
  return put(out, row)
end

local instance_keys = { instances = true, instruction = true }

function forms.self_instruct(record, out, opts)
  if type(record.instances) ~= "table" or #record.instances == 0 then
    return 0, "instances are not a list"
  end
  local count, wrong = 0, nil
  for i, instance in ipairs(record.instances) do
    local prompt, reason
    if type(instance) == "table" then
      prompt, reason = with_input(record.instruction, instance.input)
    end
    if prompt and type(instance.output) == "string" then
      local row = collect(record, instance_keys, opts.extra)
      row.prompt, row.completion = prompt, instance.output
      count = count + put(out, row)
    else
      wrong = ("instance %d: %s"):format(i, reason or "no output")
    end
  end
  return count, wrong
end

local turn_keys = { turns = true, reference = true }

function forms.turns(record, out, opts)
  local list = record.turns
  if type(list) ~= "table" or type(list[1]) ~= "string" then
    return 0, "turns are not a list of texts"
  end
  local row = collect(record, turn_keys, opts.extra)
  row.prompt = list[1]
  return put(out, row)
end

-- ---- rankings --------

--- Replies of people that were ranked, best first.
local function ranked_replies(node)
  local ranked = {}
  for _, reply in ipairs(node.replies) do
    if type(reply) == "table" and reply.role == "assistant" and type(reply.rank) == "number"
      and type(reply.text) == "string" and reply.deleted ~= true then
      ranked[#ranked + 1] = reply
    end
  end
  table.sort(ranked, function(a, b)
    if a.rank ~= b.rank then
      return a.rank < b.rank
    end
    return a.text < b.text
  end)
  return ranked
end

--- The turns from the root down to a prompter's node.
local function path_to(entry)
  local messages, n = {}, 0
  while entry do
    n = n + 1
    local role = entry.node.role == "assistant" and "assistant" or "user"
    messages[n] = { role = role, content = entry.node.text }
    entry = entry.up
  end
  for i = 1, n // 2 do
    messages[i], messages[n + 1 - i] = messages[n + 1 - i], messages[i]
  end
  return messages
end

local function tree_row(entry, ranked, tree)
  local node = entry.node
  local row = { completions = {}, ranks = {}, user_id = node.user_id, time = node.created_date }
  for i, reply in ipairs(ranked) do
    row.completions[i], row.ranks[i] = reply.text, reply.rank
  end
  add_extra(row, "tree_id", tree)
  add_extra(row, "message_id", type(node.message_id) == "string" and node.message_id or nil)
  add_extra(row, "lang", type(node.lang) == "string" and node.lang or nil)
  return row, turns.set_prompt(row, path_to(entry))
end

function forms.oasst(record, out, opts)
  local root = record.prompt
  if type(root) ~= "table" then
    return 0, "the tree has no prompt"
  end
  local tree = type(record.message_tree_id) == "string" and record.message_tree_id or nil
  local stack, count, wrong = { { node = root } }, 0, nil
  while #stack > 0 do
    local entry = table.remove(stack)
    local node = entry.node
    if type(node) ~= "table" or type(node.text) ~= "string" then
      wrong = "a message of the tree has no text"
    elseif node.deleted ~= true and type(node.replies) == "table" then
      if node.role == "prompter" then
        local ranked = ranked_replies(node)
        if #ranked >= 2 then
          local row, reason = tree_row(entry, ranked, opts.extra ~= false and tree or nil)
          wrong = reason or wrong
          count = count + (reason and 0 or put(out, row))
        end
      end
      for i = #node.replies, 1, -1 do
        stack[#stack + 1] = { node = node.replies[i], up = entry }
      end
    end
  end
  if count == 0 and not wrong then
    return 0, "no two ranked replies", true
  end
  return count, wrong
end

local verdicts = { [0] = { 1, 1 }, [1] = { 1, 2 }, [2] = { 2, 1 } }

function forms.pandalm(record, out, opts)
  local prompt, reason = with_input(record.instruction, record.input)
  if not prompt then
    return 0, reason
  end
  local known = { instruction = true, input = true, response1 = true, response2 = true }
  local names, rankings = {}, {}
  for key in pairs(record) do
    if type(key) == "string" and key:find("^annotator%d+$") then
      names[#names + 1] = key
      known[key] = true
    end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    local ranks = verdicts[record[name]]
    if not ranks then
      return 0, ("%s is neither 0 (a tie), 1 nor 2"):format(name)
    end
    rankings[i] = { labeler = name, ranks = { ranks[1], ranks[2] } }
  end
  if #rankings == 0 then
    return 0, "no annotator"
  end
  local row = collect(record, known, opts.extra)
  row.prompt, row.rankings = prompt, rankings
  row.completions = { record.response1, record.response2 }
  return put(out, row)
end

-- ---- told apart --------

--- Whose prompts these are when neither record nor setting says so.
forms.sources = { rows = "api", hh = "labeler", alpaca = "labeler", sharegpt = "api",
  self_instruct = "labeler", turns = "labeler", oasst = "labeler", pandalm = "labeler" }

--- The shape of a record, or nil.
function forms.of(record)
  if type(record.prompt) == "table" and record.prompt.replies ~= nil then
    return "oasst"
  elseif record.instruction ~= nil and record.response1 ~= nil and record.response2 ~= nil then
    return "pandalm"
  elseif record.instruction ~= nil and type(record.instances) == "table" then
    return "self_instruct"
  elseif record.instruction ~= nil and record.output ~= nil then
    return "alpaca"
  elseif type(record.conversations) == "table" then
    return "sharegpt"
  elseif type(record.turns) == "table" then
    return "turns"
  elseif type(record.chosen) == "string" and record.prompt == nil
    and turns.transcript(record.chosen) then
    return "hh"
  elseif record.chosen ~= nil and record.rejected ~= nil then
    return "rows"
  end
  for _, field in ipairs({ "prompt", "messages" }) do
    for _, name in ipairs(row_fields.names[field]) do
      if record[name] ~= nil then
        return "rows"
      end
    end
  end
end

return forms
