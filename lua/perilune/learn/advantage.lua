--- Advantages of whole answers without a value model: how much better an answer scored than what
-- was to be expected. Lists of numbers, one for each answer, group after group: the K answers to a
-- prompt stand side by side.

local stats = require("perilune.base.stats")

local advantage = {}

local function check(name, rewards, k, least)
  if k < least then
    local text = "advantage.%s: a group has %d answers, at least %d are wanted"
    error(text:format(name, k, least), 3)
  elseif #rewards % k ~= 0 then
    local text = "advantage.%s: %d rewards are no whole groups of %d"
    error(text:format(name, #rewards, k), 3)
  end
end

-- The rewards of each group.
local function groups(rewards, k)
  local list = {}
  for first = 1, #rewards, k do
    list[#list + 1] = table.move(rewards, first, first + k - 1, 1, {})
  end
  return list
end

--- Leave-one-out, RLOO (Ahmadian et al. 2024, arXiv:2402.14740, eq. 8): the reward less the mean of
-- the other answers to the prompt, A_i = r_i - 1/(K-1) Σ_{j ≠ i} r_j. Raises when K is below 2 or
-- does not divide the number of rewards.
-- @tparam {number,...} rewards one for each answer
-- @tparam integer k K, answers to a prompt
-- @treturn {number,...} one for each answer
function advantage.leave_one_out(rewards, k)
  check("leave_one_out", rewards, k, 2)
  local list = advantage.of_others(rewards, k)
  for i, reward in ipairs(rewards) do
    list[i] = reward - list[i]
  end
  return list
end

--- What each answer was to be expected to earn: the mean of the others to its prompt. Raises when K
-- is below 2 or does not divide the number of rewards.
-- @tparam {number,...} rewards one for each answer
-- @tparam integer k K, answers to a prompt
-- @treturn {number,...} one for each answer
function advantage.of_others(rewards, k)
  check("of_others", rewards, k, 2)
  local list = {}
  for _, group in ipairs(groups(rewards, k)) do
    local sum = stats.sum(group)
    for _, reward in ipairs(group) do
      list[#list + 1] = (sum - reward) / (k - 1)
    end
  end
  return list
end

local EPSILON <const> = 1e-4 -- as in TRL: groups that hardly differ are not blown up

--- The reward less the mean of its group, by a deviation: A_i = (r_i - mean) / (deviation + 1e-4),
-- deviations over K - 1; GRPO (Shao et al. 2024, arXiv:2402.03300, section 4.1.2). By the group's
-- own deviation easy and hard prompts weigh as much as those between; Dr. GRPO (Liu et al. 2025,
-- arXiv:2503.20783) divides by nothing for that reason. Raises when K is below 2 or does not divide
-- the number of rewards.
-- @tparam {number,...} rewards one for each answer
-- @tparam integer k K, answers to a prompt
-- @tparam ?string scale "group" (the default), "batch": the deviation of all rewards, or "none"
-- @treturn {number,...} one for each answer; 0 throughout a group whose rewards are equal
-- @treturn ?number what all were divided by; nil when each group has its own
-- @treturn {number,...} of each answer, what it was divided by
function advantage.group(rewards, k, scale)
  check("group", rewards, k, 2)
  scale = scale or "group"
  local list, divisors, whole = {}, {}, scale == "batch" and stats.std(rewards) or 0
  for _, group in ipairs(groups(rewards, k)) do
    local mean = stats.mean(group)
    local deviation = scale == "group" and stats.std(group) or whole
    local divisor = scale == "none" and 1 or deviation + EPSILON
    for _, reward in ipairs(group) do
      list[#list + 1], divisors[#list + 1] = (reward - mean) / divisor, divisor
    end
  end
  return list, scale ~= "group" and divisors[1] or nil, divisors
end

--- The reward less a running mean (Williams 1992): A_i = r_i - b, then b ← δ b + (1-δ) mean(r). A
-- mean that is not finite leaves b as it is.
-- @tparam {number,...} rewards one for each answer, at least one
-- @tparam ?number baseline b so far; nil: the mean of these rewards
-- @tparam number decay δ, 0 to 1
-- @treturn {number,...} one for each answer
-- @treturn ?number b from here on; nil where there is none yet, since no mean was finite
function advantage.running(rewards, baseline, decay)
  local mean, list = stats.mean(rewards), {}
  local before = baseline or mean
  for i, reward in ipairs(rewards) do
    list[i] = reward - before
  end
  if mean - mean ~= 0 then return list, baseline end
  return list, decay * before + (1 - decay) * mean
end

--- Which groups tell nothing: all their rewards are equal, and so all advantages 0. Raises when K
-- does not divide the number of rewards.
-- @tparam {number,...} rewards one for each answer
-- @tparam integer k K, answers to a prompt
-- @treturn {boolean,...} one for each group
-- @treturn integer how many they are
function advantage.equal_groups(rewards, k)
  check("equal_groups", rewards, k, 1)
  local list, count = {}, 0
  for g, group in ipairs(groups(rewards, k)) do
    local equal = true
    for _, reward in ipairs(group) do
      equal = equal and reward == group[1]
    end
    list[g], count = equal, count + (equal and 1 or 0)
  end
  return list, count
end

return advantage
