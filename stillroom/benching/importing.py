"""``stillroom bench import``: a network that was trained elsewhere becomes a teacher."""

from collections.abc import Sequence
from pathlib import Path

from stillroom import options
from stillroom.options import Parser

ABOUT = """\
Store a network that was trained elsewhere, so that it can teach (--teacher NAME) and be compared.
Reads safetensors, or a file of torch.save, without running code from it; takes off the prefixes of
DataParallel and torch.compile, and knows the names that public code gives the parts of CIFAR
ResNets and Wide ResNets. Its test accuracy is measured on the image set."""


def main(arguments: Sequence[str]) -> int:
    """Read, check, measure and store."""
    given = _parser().parsed(arguments)
    options.use_data_root(given.data_root)
    from deep.data.spec import DataSpec
    from deep.training.importing import import_teacher
    from stillroom.benching import asked, catalog, numbers

    model = asked.network_spec("as", given.network)
    data = DataSpec(name=asked.data_name(given.data))
    from deep.data import normalization

    style = given.normalization or asked.normalization_for(data.name, "cifar100")
    catalog.require("normalization", style, normalization.names())
    done = import_teacher(
        given.file,
        model=model,
        data=data,
        normalization=style,
        out=options.out_folder(given.out, write=given.file.is_file()),
        root=given.data_root,
        device=given.device,
        mapping=given.map,
        name=given.name,
    )
    record, name = done.record, done.record["config"]["imported"]["name"]
    measured = record["config"]["data"]["name"]
    accuracy = numbers.percent(done.measures["last"]["test"]["accuracy"])
    print(
        f"{given.network} ({record['parameters']:,} parameters) of {given.file}: {accuracy} % of "
        f"the test images of {measured}, inputs normalized as {style}"
    )
    called = name or done.key[:8]
    print(f"stored as {done.key[:8]}{f' ({name})' if name else ''}; it teaches by")
    print(f"  stillroom bench run kd --data {measured} --teacher {called}")
    return 0


def _parser() -> Parser:
    parser = Parser("bench import", ABOUT)
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the weights")
    add("--as", dest="network", required=True, metavar="NETWORK",
        help="the network whose weights they are (`stillroom bench networks`)")  # fmt: skip
    add("--data", required=True, metavar="SET", help="the image set that it was trained for")
    add("--normalization", metavar="NAME",
        help="of its inputs: cifar100, cifar10, overhaul, mnist or unit (default: that of the "
        "image set)")  # fmt: skip
    add("--map", type=Path, metavar="FILE.json",
        help='names that are not known: {"their name": "our name"}, null for what is left '
        "out")  # fmt: skip
    add("--name", default="", metavar="NAME", help="what to call it")
    add("--device", default="cpu", metavar="NAME", help="where to measure it (default: cpu)")
    add("--data-root", type=Path, metavar="FOLDER",
        help="folder of image sets (default: STILLROOM_DATA)")  # fmt: skip
    parser.add_out()
    return parser
