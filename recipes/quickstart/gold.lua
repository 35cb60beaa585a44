--- The world's own checker as a reward function: f(prompts, answers, rows, ended) -> scores
-- in [0, 1].
--
-- A row carries the task it asks for and the seed of its world; nothing of the prompt's wording is
-- looked at.

local world = require("quickstart.world")

local worlds = {}

return function(_, answers, rows, ended)
  local scores = {}
  for i, answer in ipairs(answers) do
    local row = rows[i]
    worlds[row.world] = worlds[row.world] or world.new(row.world)
    scores[i] = (worlds[row.world]:check(row.task, { text = answer, finished = ended[i] }))
  end
  return scores
end
