--- What `perilune plan` sets in its trials, which run a few steps: `last`, the trial's last step,
-- takes the part of `data.epochs` with the largest forward among those of the first `steps`, and
-- `note` is told what part of its tokens the mean part has. Empty in any other run.

return {}
