--- Who is in a store, and what people said of a prompt.

local read = require("perilune.store.read")

local people = {}

--- The names of all users, sorted.
-- @treturn {string,...}
function people.user_names(self)
  local names = {}
  for name in
    self:statement("SELECT DISTINCT name FROM users WHERE name <> '' ORDER BY name"):rows()
  do
    names[#names + 1] = name
  end
  return names
end

--- Latest versions of what people wrote and ranked for a prompt: fields that can be laid over its
-- row to make a row of a training set.
-- @tparam integer prompt_id of the prompt
-- @treturn table `demonstrations`: list of {completion, labeler, demonstration_id}; `ranked`: list
--   of {completions, completion_finished, ranks, completion_ids, ranks_by_id = {[completion id] =
--   rank}, labeler, ranking_id}
function people.human_answers(self, prompt_id)
  local answers = { demonstrations = {}, ranked = {} }
  local written = self:statement([[SELECT a.id, a.text, a.labeler FROM demonstrations AS a
    WHERE a.prompt_id = ? AND NOT EXISTS (SELECT 1 FROM demonstrations AS newer
    WHERE newer.replaces = a.id) ORDER BY a.id]])
  for id, text, labeler in written:rows(prompt_id) do
    table.insert(
      answers.demonstrations,
      { completion = text, labeler = labeler, demonstration_id = id }
    )
  end
  local ranked = self:statement([[SELECT a.id, a.labeler FROM rankings AS a
    WHERE a.prompt_id = ? AND NOT EXISTS (SELECT 1 FROM rankings AS newer
    WHERE newer.replaces = a.id) ORDER BY a.id]])
  for id, labeler in ranked:rows(prompt_id) do
    local texts, ranks, ids, said = read.items_of(self, id)
    local by_id = {}
    for i, completion_id in ipairs(ids) do
      by_id[completion_id] = ranks[i]
    end
    table.insert(answers.ranked, {
      completions = texts,
      ranks = ranks,
      completion_ids = ids,
      ranks_by_id = by_id,
      labeler = labeler,
      ranking_id = id,
      completion_finished = said.finished,
    })
  end
  return answers
end

return people
