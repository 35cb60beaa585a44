--- InstructGPT's appendix C.3 (arXiv:2203.02155): the model that PPO starts from.
--
--     perilune run recipes/sft.lua --preset instructgpt_ppo_init --model PRETRAINED --dataset ...
--
-- From the pretrained model, 2 epochs of demonstrations with a tenth of pretraining data mixed in,
-- cosine to a tenth. The result is both where PPO starts and what its KL is measured to.

return {
  sft = {
    num_train_epochs = 2,
    batch_size = 32,
    ptx_fraction = 0.1,
    ptx_length = 2048,
    max_length = 2048,
    learning_rate = "cosine(5e-6, 5e-7)",
    adam_beta1 = 0.9,
    adam_beta2 = 0.95,
  },
}
