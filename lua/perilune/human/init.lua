--- human: what people do for the training data: how far labelers agree with each other, and the
-- prompts that they are asked for.
--
-- May use: base, rules.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  agreement = "perilune.human.agreement",
  labeler_prompts = "perilune.human.labeler_prompts",
})
