"""Files that are broken in every way that one can think of, made anew and always the same.

A case is a name, the file's content, and whether a crystal could still be read of it.
"""

from __future__ import annotations

import gzip
import io
import itertools
import random
import zipfile
from collections.abc import Iterator
from typing import NamedTuple


class Case(NamedTuple):
    """A broken file.

    Parameters
    ----------
    name : str
        The kind of fault and what exactly it is; ends as the file's name would.
    content : bytes
    may_be_read : bool
        False where no crystal can be made of it, whatever the reader forgives.
    """

    name: str
    content: bytes
    may_be_read: bool = True


CELL_TAGS = ('length_a', 'length_b', 'length_c', 'angle_alpha', 'angle_beta', 'angle_gamma')
SITE_TAGS = ('type_symbol', 'label', 'fract_x', 'fract_y', 'fract_z', 'occupancy')
IDENTITY = ["'x, y, z'"]
PBNM = [
    *(*IDENTITY, "'-x, -y, z+1/2'", "'x+1/2, -y+1/2, -z'", "'-x+1/2, y+1/2, -z+1/2'"),
    *("'-x, -y, -z'", "'x, y, -z+1/2'", "'-x+1/2, y+1/2, z'", "'x+1/2, -y+1/2, z+1/2'"),
]
SALT = [['Na', 'Na1', '0', '0', '0', '1'], ['Cl', 'Cl1', '0.5', '0.5', '0.5', '1']]
PEROVSKITE = [
    ['Ca2+', 'Ca1', '0.9932(2)', '0.0358(1)', '0.25', '1.0'],
    ['Ti', 'Ti1', '0', '0.5', '0', '1.'],
    ['O', 'O1', '0.0714', '0.4838', '0.25', '?'],
    ['O', 'O2', '0.7108', '0.2888', '0.0371', '1'],
]
BONDS = 'loop_\n_geom_bond_atom_site_label_1\n_geom_bond_distance\nNa1 2.82\nCl1 2.82\n'


def cif(
    sites: list[list[str]] = SALT,
    cell: tuple[str, ...] = ('5.1', '5.2', '5.3', '90', '95', '90'),
    operations: list[str] | None = IDENTITY,
    *,
    tags: tuple[str, ...] = SITE_TAGS,
    head: str = '',
    end: str = '',
) -> str:
    """Return a CIF of parts; no operations at all where they are None."""
    lines = ['data_test', head] if head else ['data_test']
    lines += [f'_cell_{tag} {value}' for tag, value in zip(CELL_TAGS, cell, strict=True) if value is not None]
    if operations is not None:
        lines += ['loop_', '_symmetry_equiv_pos_as_xyz', *operations]
    lines += ['loop_', *(f'_atom_site_{tag}' for tag in tags), *(' '.join(row) for row in sites)]
    return '\n'.join(lines) + '\n' + end


GOOD = {
    'plain': cif(),
    'bonds': cif(end=BONDS),
    'symmetric': cif(PEROVSKITE, ('5.38', '5.44', '7.64', '90', '90', '90'), PBNM),
    'named': cif(operations=None, head="_symmetry_space_group_name_H-M 'P m -3 m'\n", cell=('4.1',) * 3 + ('90',) * 3),
    'pairs': cif([]).partition('loop_\n_atom_site')[0]
    + ''.join(f'_atom_site_{tag} {value}\n' for tag, value in zip(SITE_TAGS, SALT[0], strict=True)),
    'text': cif(head="_publ_section_title\n;\nA title with 'quotes' and data_ in it\n;\n"),
    'hexagonal': cif(
        [['B', 'B1', '0.333333', '0.666667', '0', '1'], ['N', 'N1', '0.333333', '0.666667', '0.5', '1']],
        ('2.504', '2.504', '6.661', '90', '90', '120'),
    ),
}
"""CIFs that are read, and that faults are put into."""

POSCAR = 'NaCl\n1.0\n5.6 0 0\n0 5.6 0\n0 0 5.6\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n'

NO_NUMBERS = (
    *('nan', 'NaN', 'inf', '-inf', 'Infinity', '1e400', '-1e400', '1e-400', '1e308', '1e-308', 'abc', '?', '.', "''"),
    *(
        '1,5',
        '5.6(',
        '5.6()',
        '(3)',
        '5.6)(',
        '0x10',
        '1e',
        '1e+',
        '+',
        '-',
        '--5',
        '5.6.7',
        '5..6',
        '1_000',
        '½',
        '\u0665',
    ),
    *('1' * 400, '0.' + '3' * 100_000, '9' * 100_000, '1e' + '9' * 1000, '$5', '{5}', '[5]', '=5', '5;6', '\\5', '5%'),
)
BAD_LENGTHS = ('0', '-5.6', '1e-30', '1e9', '0.01', '10001', '-0')
BAD_ANGLES = ('0', '180', '360', '-90', '1e-12', '179.9999999', '720', '0.001')
BAD_COORDINATES = ('1e7', '-1e20', '1e300', '99999999999999999999', '0.5/2', '1/3', 'x', '0.5 0.5')
BAD_OCCUPANCIES = ('0', '0.5', '2', '-1', '0.998', '1.002', '1e9', 'nan', 'inf', 'full', '1(', '0.5(1)', 'x')
BAD_SYMBOLS = (
    *(
        'Xx',
        'Uue',
        'Q',
        'M',
        'R',
        '*',
        '0',
        '119',
        '-',
        '+',
        '2+',
        'water',
        'Wat',
        'Va',
        'vac',
        'Zz3+',
        'é',
        'Ωm',
        '元',
    ),
    *("''", '""', '?', '.', '_', '\\', 'A' * 100_000, 'Nax', 'NaCl', 'Na,Cl', 'Na/Cl', 'Na:0.5', 'n', 'e-', '\ufeff'),
)
BAD_OPERATIONS = (
    *(
        "'x,y'",
        "'x,y,z,w'",
        "'x+1/0,y,z'",
        "'x,y,z/0'",
        "'1000000*x,y,z'",
        "'2x,2y,2z'",
        "'0,0,0'",
        "'x,x,x'",
        "''",
        "','",
    ),
    *(
        "',,'",
        "'x;y;z'",
        "'x y z'",
        "'a,b,c'",
        "'x,y,z+0.12345678901'",
        "'x,y,z+1/7'",
        "'x+nan,y,z'",
        "'x+inf,y,z'",
        '?',
    ),
    *('.', "'\u2212x,y,z'", "'x+9999999999999999999,y,z'", "'x/3,y/3,z/3'", "'h,k,l'", "'x+1/2/3,y,z'", "'((x)),y,z'"),
    *(
        f"'{'x+' * 50_000}x,y,z'",
        f"'x{'-y' * 1000},y,z'",
        "'x,y,z",
        "x,y,z'",
        "'x,\ny,z'",
        "'X,Y,Z,'",
        "'1,2,3'",
        "'-,-,-'",
    ),
)
BAD_GROUPS = (
    *(
        "'Q m m m'",
        "'P 7'",
        "'F d -3 m'",
        "'P m -3 m:9'",
        "''",
        "'P'",
        "'m'",
        "'\x00'",
        "'" + 'P ' * 10_000 + "'",
        "'-'",
        "':'",
    ),
    *(
        "'R -3 m:'",
        "'P 1 1 1 1 1'",
        "'p M -3 M'",
        "'Fm3m Fm3m'",
        "'" + 'x' * 1_000_000 + "'",
        "'P 21/c 21/c'",
        '?',
        '.',
    ),
)
BAD_NUMBERS_OF_GROUPS = ('0', '231', '-1', '1e9', 'abc', '1.5', '9' * 30, '9' * 5000, '٣', '²', '0225', '+225', 'nan')
BAD_HALL = (
    *("'P 4n 2n -1n'", "'-'", "'P'", "''", "'X 2'", "'P 9'", "'P 2 2 2 2 2 2'", "'-P 4 2 3 (x,y,z)'", "'P 2 (1 2'"),
    *("'P 2 (1 2 3 4)'", "'" + 'P 2 ' * 5000 + "'", "'P 4 3 5'", "'P 61 2 (0 0 99999999999)'", "'P 2 (a b c)'", '?'),
)
BAD_FORMULAS = ("'C1.2.3'", "'C..'", "'C" + '9' * 400 + "'", "'Xx2 Yy3'", "'C1e9'", "''", "'C0'", "'C-1'", '?', "'8C'")
BAD_UNITS = ('0', '-1', '9' * 4400, '1.5', 'abc', '²', '٨', '1' + '0' * 300)


def broken_cifs(seed: int = 1) -> Iterator[Case]:
    """Yield more than a thousand broken CIFs, kind by kind."""
    rng = random.Random(seed)
    families = (
        _truncated(),
        _garbled(rng),
        _encoded(),
        _bad_values(),
        _bad_columns(),
        _bad_symmetry(),
        _bad_syntax(),
        _impossible_crystals(rng),
        _huge(),
        _other_formats(rng),
    )
    for case in itertools.chain.from_iterable(families):
        yield case._replace(name=f'{case.name[:100]}.cif')


def _truncated() -> Iterator[Case]:
    for base, text in GOOD.items():
        content = text.encode()
        for part in range(24):
            stop = len(content) * part // 24
            yield Case(f'truncated/{base} at byte {stop}', content[:stop], stop > len(content) // 2)


def _garbled(rng: random.Random) -> Iterator[Case]:
    for base, text in GOOD.items():
        for n_bytes, number in itertools.product((1, 3, 10, 100), range(8)):
            content = bytearray(text.encode())
            for _ in range(n_bytes):
                content[rng.randrange(len(content))] = rng.randrange(256)
            yield Case(f'garbled/{base} {n_bytes} bytes {number}', bytes(content))
        lines = text.splitlines(keepends=True)
        for number in range(8):
            yield Case(f'lines/{base} shuffled {number}', ''.join(rng.sample(lines, len(lines))).encode())
            left_out = rng.randrange(len(lines))
            yield Case(f'lines/{base} without {left_out}', ''.join(lines[:left_out] + lines[left_out + 1 :]).encode())
            twice = rng.randrange(len(lines))
            yield Case(
                f'lines/{base} {twice} twice',
                ''.join(lines[:twice] + lines[twice : twice + 1] + lines[twice:]).encode(),
            )


def _encoded() -> Iterator[Case]:
    text = GOOD['plain']
    for encoding in ('utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'utf-32-be', 'cp500', 'utf-7'):
        yield Case(f'encoding/{encoding}', text.encode(encoding))
    yield Case('encoding/utf-8 mark', text.encode('utf-8-sig'))
    for strange in (
        b'\xff',
        b'\x80',
        b'\xc3',
        b'\xed\xa0\x80',
        b'\xf4\x90\x80\x80',
        b'\x00',
        b'\x1a',
        b'\x1b[31m',
        b'\x7f',
    ):
        for before in (b'', b'data_', b'_cell_length_a ', b'loop_\n', b'Na Na1 '):
            at = text.encode().index(before) + len(before)
            yield Case(f'encoding/{strange!r} after {before!r}', text.encode()[:at] + strange + text.encode()[at:])
    for ends in (b'\r', b'\r\n', b'\n\r', b'\x0b', b'\x0c', b'\x85', '\u2028'.encode()):
        yield Case(f'encoding/lines end with {ends!r}', text.encode().replace(b'\n', ends))
    yield Case('encoding/no-break spaces', text.replace(' ', '\u00a0').encode(), False)
    yield Case('encoding/nulls only', b'\0' * 10_000, False)
    yield Case('encoding/nulls between', b'\0'.join(text.encode()[i : i + 1] for i in range(len(text))), False)


def _bad_values() -> Iterator[Case]:
    cell = ('5.1', '5.2', '5.3', '90', '95', '90')
    for place, tag in enumerate(CELL_TAGS):
        for value in (*NO_NUMBERS, *(BAD_LENGTHS if place < 3 else BAD_ANGLES)):
            changed = (*cell[:place], value, *cell[place + 1 :])
            # An angle that is missing is a right one; a few others are understood as numbers.
            yield Case(f'cell/{tag} {value}', cif(cell=changed).encode(), value not in BAD_LENGTHS[:3])
        yield Case(f'cell/{tag} absent', cif(cell=(*cell[:place], None, *cell[place + 1 :])).encode(), place >= 3)  # type: ignore[arg-type]
    for place, tag in enumerate(SITE_TAGS[2:5], 2):
        for value in (*NO_NUMBERS, *BAD_COORDINATES):
            sites = [list(row) for row in SALT]
            sites[1][place] = value
            yield Case(f'coordinate/{tag} {value}', cif(sites).encode())
    for value in BAD_OCCUPANCIES:
        sites = [list(row) for row in SALT]
        sites[0][5] = value
        yield Case(f'occupancy/{value}', cif(sites).encode(), False)
    for value in BAD_SYMBOLS:
        yield Case(f'element/{value}', cif([[value, value, *SALT[0][2:]], SALT[1]]).encode())
        yield Case(f'element/label {value}', cif([[value, *SALT[0][2:]]], tags=SITE_TAGS[1:]).encode())


def _bad_columns() -> Iterator[Case]:
    for n_kept in range(len(SITE_TAGS)):
        for kept in itertools.combinations(range(len(SITE_TAGS)), n_kept):
            tags = tuple(SITE_TAGS[place] for place in kept)
            sites = [[row[place] for place in kept] for row in SALT]
            complete = {2, 3, 4} <= set(kept) and {0, 1} & set(kept)
            yield Case(f'columns/only {",".join(tags)}', cif(sites, tags=tags).encode(), bool(complete))
    for place, tag in enumerate(SITE_TAGS):
        tags = (*SITE_TAGS, tag)
        yield Case(f'columns/{tag} twice', cif([[*row, row[place]] for row in SALT], tags=tags).encode())
        yield Case(f'columns/{tag} twice, different', cif([[*row, '7'] for row in SALT], tags=tags).encode())
    for missing in range(1, 6):
        yield Case(f'columns/{missing} values too few', cif([SALT[0], SALT[1][:-missing]]).encode())
        yield Case(f'columns/{missing} values too many', cif([SALT[0], SALT[1] + ['0.25'] * missing]).encode())
    yield Case('columns/cartesian', cif().replace('_fract_', '_Cartn_').encode(), False)
    yield Case('columns/mmcif', cif().replace('_atom_site_', '_atom_site.').replace('_cell_', '_cell.').encode())
    yield Case('columns/none', cif([], tags=()).encode(), False)
    yield Case('columns/no rows', cif([]).encode(), False)
    yield Case(
        'columns/sites twice',
        (cif() + cif().partition('loop_\n_atom')[0][:0] + 'loop_\n_atom_site_fract_x\n0\n').encode(),
    )


def _bad_symmetry() -> Iterator[Case]:
    for value in BAD_OPERATIONS:
        for others in ([], IDENTITY, PBNM):
            yield Case(f'operation/{value} with {len(others)}', cif(PEROVSKITE, operations=[*others, value]).encode())
    for n_operations, operations in ((100_000, IDENTITY), (400, PBNM), (5000, ["'x+1/2,y,z'", "'x,y+1/3,z'"])):
        yield Case(f'operation/{n_operations} times', cif(PEROVSKITE, operations=operations * n_operations).encode())
    shifts = [f"'x+{i}/24,y+{j}/24,z+{k}/24'" for i in range(24) for j in range(24) for k in range(24)]
    yield Case('operation/13824 shifts', cif(PEROVSKITE, operations=shifts).encode())
    for name in BAD_GROUPS:
        yield Case(f'group/{name}', cif(operations=None, head=f'_symmetry_space_group_name_H-M {name}\n').encode())
    for number in BAD_NUMBERS_OF_GROUPS:
        yield Case(
            f'group/number {number}', cif(operations=None, head=f'_symmetry_Int_Tables_number {number}\n').encode()
        )
    for hall in BAD_HALL:
        yield Case(
            f'group/hall {hall}', cif(operations=None, head=f'_symmetry_space_group_name_Hall {hall}\n').encode()
        )
    for formula, units in [*((f, '8') for f in BAD_FORMULAS), *(("'C1'", u) for u in BAD_UNITS)]:
        head = f"_space_group_name_H-M_alt 'F d -3 m'\n_chemical_formula_sum {formula}\n_cell_formula_units_Z {units}\n"
        yield Case(f'group/formula {formula} {units}', cif(operations=None, head=head).encode())


def _bad_syntax() -> Iterator[Case]:
    text = cif()
    pieces = (
        *(
            "'",
            '"',
            ';',
            '\n;\n',
            '\n;',
            'loop_',
            'loop_\n',
            'data_',
            'save_',
            'save_frame',
            'global_',
            'stop_',
            '_',
            '__',
        ),
        *(
            '#',
            '$',
            '[',
            ']',
            '{',
            '}',
            "'''",
            '"""',
            '\\',
            '_tag',
            '_tag _tag',
            '_cell_length_a',
            'loop_ loop_',
            '?',
            '.',
        ),
        *(
            'data_test',
            'loop_\n_a\n_b\n1',
            '_a_very_' + 'long_' * 20_000 + 'tag 1',
            "'" * 10_001,
            '"' * 10_000,
            ';' * 10_001,
        ),
        *('\n;' * 10_001, '[' * 100_000, '{' * 100_000, '(' * 100_000, "'a" * 5000, 'data_ ' * 3000, 'loop_ ' * 3000),
    )
    for piece in pieces:
        for where, at in (
            ('first', 0),
            ('before the cell', 10),
            ('in the sites', text.index('0.5')),
            ('last', len(text)),
        ):
            yield Case(f'syntax/{piece[:20]!r} {where}', (text[:at] + f' {piece} ' + text[at:]).encode())
    yield Case('syntax/nothing', b'', False)
    yield Case('syntax/blanks', b' \n\t' * 1000, False)
    yield Case('syntax/comments', b'# nothing else\n' * 1000, False)
    yield Case('syntax/blocks alike', (cif() * 20).encode(), False)
    yield Case('syntax/1000 blocks', ''.join(cif().replace('test', str(i)) for i in range(1000)).encode(), False)
    yield Case('syntax/1000 empty blocks', ''.join(f'data_{i}\n' for i in range(1000)).encode(), False)
    yield Case('syntax/crystal in a frame', cif().replace('data_test', 'data_test\nsave_a').encode() + b'save_\n')
    yield Case('syntax/reversed', cif()[::-1].encode(), False)
    yield Case('syntax/upper case', cif().upper().encode())
    yield Case('syntax/one line', cif().replace('\n', ' ').encode())


def _impossible_crystals(rng: random.Random) -> Iterator[Case]:
    flat = [('5', '5', '5', '60', '60', '120'), ('5', '5', '5', '30', '30', '90'), ('5', '5', '5', '120', '120', '120')]
    flat += [('5', '5', '5', '90', '90', f'{180 - 10.0**-k:.12f}') for k in range(1, 10)]
    flat += [('0.09', '5', '5', '90', '90', '90'), ('9999', '9999', '0.1', '90', '90', '90')]
    for cell in flat:
        yield Case(f'volume/{" ".join(cell)}', cif(cell=cell).encode())
    for distance in (0, 1e-15, 1e-6, 0.01, 0.05, 0.09):
        sites = [SALT[0], ['Cl', 'Cl1', f'{distance:.16f}', '0', '0', '1']]
        yield Case(f'overlap/{distance}', cif(sites).encode(), False)
    for n_atoms in (2, 10, 1000, 9999):
        yield Case(f'overlap/{n_atoms} in one place', cif([SALT[0]] * n_atoms).encode(), False)
        sites = [['Na', 'Na', *(f'{rng.random():.6f}' for _ in range(3)), '1'] for _ in range(n_atoms)]
        yield Case(f'overlap/{n_atoms} anywhere', cif(sites).encode(), n_atoms < 100)
    sites = [['Na', 'Na', f'{k / 9999:.8f}', '0', '0', '1'] for k in range(9999)]
    yield Case('overlap/9999 in a long row', cif(sites, ('9999', '4', '4', '90', '90', '90')).encode())
    yield Case('overlap/9999 in a thin cell', cif(sites, ('9999', '0.6', '0.6', '90', '90', '90')).encode())
    yield Case('overlap/skewed', cif(sites[:500], ('900', '4', '4', '90', '0.5', '90')).encode())


def _huge() -> Iterator[Case]:
    def atoms(number: int, operations: list[str] = IDENTITY) -> str:
        """Return a CIF of atoms on a cubic grid, made line by line: lists of a million rows take more than the file."""
        edge = round(number ** (1 / 3)) + 1
        lines = (
            f'Na Na{n} {n % edge / edge:.6f} {n // edge % edge / edge:.6f} {n // edge**2 / edge:.6f} 1\n'
            for n in range(number)
        )
        return cif([], ('400', '400', '400', '90', '90', '90'), operations) + ''.join(lines)

    yield Case('huge/10001 atoms', atoms(10_001).encode(), False)
    yield Case('huge/a million atoms', atoms(1_000_000).encode(), False)
    yield Case('huge/9999 atoms by 8 operations', atoms(9_999, PBNM).encode(), False)
    yield Case('huge/a million atoms, torn', atoms(1_000_000).encode()[:-7], False)
    yield Case('huge/line', (cif() + '_note ' + 'x' * 10_000_000).encode())
    yield Case('huge/comment', (cif() + '# ' + 'x' * 10_000_000).encode())
    yield Case('huge/newlines', (cif() + '\n' * 10_000_000).encode())
    yield Case('huge/text', (cif() + '_note\n;\n' + 'x y z\n' * 2_000_000 + ';\n').encode())
    yield Case('huge/text without end', (cif() + '_note\n;\n' + 'x y z\n' * 2_000_000).encode())
    yield Case('huge/loop of something else', (cif() + 'loop_\n_a\n_b\n' + '1 2\n' * 1_000_000).encode())
    yield Case('huge/loop, odd', (cif() + 'loop_\n_a\n_b\n' + '1 2\n' * 1_000_000 + '1\n').encode())
    yield Case('huge/100000 tags', (cif() + ''.join(f'_tag_{n} {n}\n' for n in range(100_000))).encode())
    yield Case(
        'huge/100000 tags of a loop',
        (cif() + 'loop_\n' + ''.join(f'_tag_{n}\n' for n in range(100_000)) + '1').encode(),
    )
    yield Case('huge/quotes', (cif() + "_note '" + "' " * 1_000_000).encode())
    yield Case('huge/garbage', bytes(random.Random(7).randbytes(8_000_000)), False)
    yield Case('huge/words', b'word ' * 1_500_000, False)
    yield Case('huge/blocks', b'data_a _cell_length_a 5 ' * 300_000, False)


def _other_formats(rng: random.Random) -> Iterator[Case]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as packed:
        packed.writestr('a.cif', cif())
    others = {
        'html': b'<!DOCTYPE html><html><body>429 Too Many Requests</body></html>',
        'json': b'{"@module": "pymatgen.core.structure", "@class": "Structure", "lattice": {}}',
        'json cif': b'["data_test", "_cell_length_a"]',
        'xml': b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>',
        'pdf': b'%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj',
        'pickle': b'\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.',
        'gzip': gzip.compress(cif().encode()),
        'zip': archive.getvalue(),
        'poscar': POSCAR.encode(),
        'pointer of git lfs': b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n',
        'elf': b'\x7fELF\x02\x01\x01' + bytes(100),
        'csv': b'MaterialId,Bandgap\nabc,1.0\n',
    }
    for name, content in others.items():
        yield Case(f'format/{name}', content, False)
    for number in range(30):
        yield Case(f'format/random {number}', rng.randbytes(rng.randrange(1, 3000)), False)


def broken_poscars(seed: int = 1) -> Iterator[Case]:
    """Yield some hundred broken POSCARs."""
    rng = random.Random(seed)
    lines = POSCAR.splitlines(keepends=True)
    cases: list[Case] = []
    cases += (Case(f'truncated at {n}', POSCAR[:n].encode(), n > 60) for n in range(0, len(POSCAR), 3))
    for value in (*NO_NUMBERS, *BAD_LENGTHS, '1000000000', '-1000000000', '99999999999999999999', '1 ' * 100_000):
        cases += (
            Case(f'line {place} {value}', ''.join([*lines[:place], value + '\n', *lines[place + 1 :]]).encode())
            for place in (1, 2, 6, 7, 8)
        )
    for value in BAD_SYMBOLS:
        cases.append(Case(f'element {value}', ''.join([*lines[:5], f'{value} Cl\n', *lines[6:]]).encode()))
    for number in range(100):
        content = bytearray(POSCAR.encode())
        for _ in range(1 + number % 7):
            content[rng.randrange(len(content))] = rng.randrange(256)
        cases.append(Case(f'garbled {number}', bytes(content)))
    cases.append(Case('huge', (POSCAR + '0.1 0.2 0.3\n' * 500_000).encode()))
    cases.append(
        Case('a million atoms', POSCAR.replace('1 1\n', '1000000 1\n').encode() + b'0.1 0.2 0.3\n' * 1_000_000, False)
    )
    for case in cases:
        yield case._replace(name=f'poscar/{case.name[:100]}.vasp')
