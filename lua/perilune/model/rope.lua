--- Rotary positions as a config describes them: options of core.rope, or why there are none.

local keys = require("perilune.model.config_keys")

local rope = {}

--- Rules of the keys of a config that are about rotary positions.
rope.keys = {
  rope_theta = keys.number(1, 1e15),
  rope_scaling = keys.table,
  rope_parameters = keys.table,
  partial_rotary_factor = keys.only(1),
}

local inner = {
  rope_type = keys.only("default"),
  type = keys.only("default"),
  rope_theta = rope.keys.rope_theta,
  partial_rotary_factor = rope.keys.partial_rotary_factor,
}

local function theta_of(c)
  return c.rope_theta or c.rope_parameters and c.rope_parameters.rope_theta or 10000
end

-- Two places for one number: both read, and the same.
local function check(c)
  for _, name in ipairs { "rope_scaling", "rope_parameters" } do
    local given = c[name]
    local kind = given and (given.rope_type or given.type) or "default"
    if kind ~= "default" then
      return ("config.json: '%s' has the rope_type '%s'; only 'default' is implemented"):format(
        name,
        kind
      )
    end
    local message = given and keys.check(given, inner, name)
    if message then
      return message
    elseif given and given.rope_theta and c.rope_theta and given.rope_theta ~= c.rope_theta then
      return ("config.json: '%s.rope_theta' is %s and 'rope_theta' is %s: which is meant?"):format(
        name,
        given.rope_theta,
        c.rope_theta
      )
    end
  end
end

--- The options of core.rope.
-- @tparam table c a config
-- @tparam integer head_dim
-- @treturn ?table
-- @treturn ?string message
function rope.read(c, head_dim)
  local message = check(c)
  if message then
    return nil, message
  elseif head_dim % 2 ~= 0 then
    return nil,
      ("config.json: the size of a head is %d (%s); rotary positions want an even one"):format(
        head_dim,
        c.head_dim and "'head_dim'" or "'hidden_size' / 'num_attention_heads'"
      )
  end
  return {
    head_dim = head_dim,
    theta = theta_of(c),
    interleaved = c.rope_interleaved or false,
  }
end

--- Says in full what a config leaves to the reader.
-- @tparam table config to be written
function rope.complete(config)
  config.rope_theta = theta_of(config)
  config.rope_parameters = { rope_type = "default", rope_theta = config.rope_theta }
end

return rope
