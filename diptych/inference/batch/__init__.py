"""Translation of very many images: manifests, shards of a job, tar and Parquet files, several machines.

Not here: options of the command. Start with `work.py`.
"""
