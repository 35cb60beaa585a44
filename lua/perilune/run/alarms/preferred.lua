--- What a run on preferences says of its preferred answers: how much likelier they are than to the
-- reference, and how unlikely the reference finds them.

local trend = require("perilune.run.alarms.trend")

local preferred = {}

local FIRST <const> = 5 -- rows in which a policy without a reference still is the start

-- Losses whose rewards are no log ratios: they have no reference.
local free_of_reference = { simpo = true, orpo = true }

-- The β by which `rewards/chosen` are log ratios; nil where they are none, or it is a schedule.
local function beta_of(known)
  local beta = known:fixed("beta")
  return beta and beta > 0 and not free_of_reference[known:value("loss_type")] and beta or nil
end

--- Log ratios ln π(y_w|x) - ln π_ref(y_w|x) of the rows, nats an answer.
-- @tparam {{[string]=any},...} history rows
-- @tparam Known known settings, which may read `beta` and `loss_type`
-- @treturn ?{number,...} nil when they cannot be told
function preferred.log_ratios(history, known)
  local beta = beta_of(known)
  if not beta then return nil end
  local ratios = trend.values(history, "rewards/chosen")
  for i, reward in ipairs(ratios) do
    ratios[i] = reward / beta
  end
  return ratios
end

--- How unlikely the reference finds the preferred answers, -ln π_ref(y_w|x): of all rows, and where
-- log ratios cannot be told, of the first ones.
-- @tparam {{[string]=any},...} history rows
-- @tparam Known known settings, which may read `beta` and `loss_type`
-- @treturn ?number nats an answer; nil when no row tells
function preferred.reference_nats(history, known)
  local logps, ratios = trend.values(history, "logps/chosen"), preferred.log_ratios(history, known)
  local n = ratios and math.min(#logps, #ratios) or math.min(#logps, FIRST)
  if n == 0 then return nil end
  local logp = trend.mean(logps, 1, n)
  return (ratios and trend.mean(ratios, 1, n) or 0) - logp
end

return preferred
