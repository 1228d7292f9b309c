"""Image sets from the Hugging Face Hub, where no folder of image sets is given."""

from pathlib import Path

REPOSITORIES = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "mnist": "ylecun/mnist",
}
"""Data set repositories by the name of the image set."""


def download(name: str, folder: str, *, root_folder: str) -> Path:
    """The folder of Parquet files of an image set in the Hub's cache, fetched if it is not there.

    What the cache has is taken without asking the network.

    Args:
        name: One of `REPOSITORIES`.
        folder: The folder of the files in the repository, such as ``"plain_text"``.
        root_folder: Where they would stand under a local root, for the message.

    Raises:
        ValueError: If they are not there and cannot be fetched; it says what else can be done.
    """
    import huggingface_hub

    repository = REPOSITORIES[name]
    pattern = f"{folder}/*.parquet"

    def fetch(*, local: bool) -> Path:
        snapshot = huggingface_hub.snapshot_download(
            repository, repo_type="dataset", allow_patterns=[pattern], local_files_only=local
        )
        return Path(snapshot) / folder

    try:
        found = fetch(local=True)
        if _complete(found):
            return found
    except Exception:  # noqa: BLE001  # not in the cache; each client has its own error
        pass
    try:
        found = fetch(local=False)
    except Exception as error:  # each client has its own
        msg = (
            f"{name} could not be fetched from {repository} on the Hugging Face Hub "
            f"({type(error).__name__}: {_first_line(error)}); give a folder that holds "
            f"{root_folder}/train-00000-of-*.parquet by --data-root or STILLROOM_DATA "
            "(digits need none)"
        )
        raise ValueError(msg) from error
    return found


def _complete(folder: Path) -> bool:
    """Whether both splits are there: a snapshot may hold other files only."""
    from deep.data.parquet import shards

    try:
        return all(shards(folder, split) for split in ("train", "test"))
    except ValueError:
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0]
