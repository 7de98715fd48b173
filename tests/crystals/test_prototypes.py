"""The embedded source: hypothetical crystals that make sense and are always the same, and controls that are right."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import spglib

from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.crystals.checks import why_unusable
from aiida_cgcnn_elastic.crystals.composition import SYMBOLS
from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from aiida_cgcnn_elastic.crystals.sources import SourceError, substitution
from aiida_cgcnn_elastic.crystals.sources.controls import controls
from aiida_cgcnn_elastic.crystals.sources.prototypes import PrototypesSource
from aiida_cgcnn_elastic.crystals.sources.substitution import FAMILIES, family_of, prototype_library

PRINT_CHECKSUM = """
from aiida_cgcnn_elastic.crystals import sources
print(sources.read(sources.open_source([], 'prototypes', n_crystals=300)).table.sha256())
"""


def _symbols(crystal):
    return [SYMBOLS[number] for number in crystal.atomic_numbers]


def _space_group(crystal, tolerance):
    cell = (crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
    return spglib.get_symmetry_dataset(cell, symprec=tolerance).number


def _contacts(crystal):
    """Return pairs of atoms within 5 Angstrom and their distances."""
    atoms, neighbors, _, distances = to_pymatgen(crystal).get_neighbor_list(5.0)
    return atoms, neighbors, distances


@pytest.fixture(scope='module')
def result():
    """Return what the source gives where nothing is asked for."""
    return sources.read(sources.open_source([], 'prototypes'))


@pytest.fixture(scope='module')
def hypothetical(result):
    """Return the hypothetical crystals among these."""
    return [crystal for crystal in result.table if crystal.material_id.startswith('proto-')]


class TestHypotheticalCrystals:
    def test_everything_is_accounted_for(self, result, hypothetical):
        assert len(hypothetical) == 1000
        assert result.rejections == []
        assert result.n_read == len(result.table) == 1000 + len(controls())

    def test_same_in_every_process(self):
        """Neither the order of sets nor anything else that changes from process to process may leak in."""
        checksums = set()
        for hash_seed in ('0', '1'):
            environment = {**os.environ, 'PYTHONHASHSEED': hash_seed}
            done = subprocess.run(
                [sys.executable, '-c', PRINT_CHECKSUM], env=environment, capture_output=True, text=True, check=True
            )
            checksums.add(done.stdout.strip())
        source = PrototypesSource(n_crystals=300)
        assert checksums == {sources.read(source).table.sha256()}

    def test_fewer_are_the_first_of_more(self, hypothetical):
        fewer = sources.read(PrototypesSource(n_crystals=120, controls=False)).table
        assert list(fewer) == [
            type(crystal)(
                crystal.material_id,
                crystal.lattice,
                crystal.atomic_numbers,
                crystal.frac_coords,
                {name: crystal.properties[name] for name in fewer.property_names},
            )
            for crystal in hypothetical[:120]
        ]

    def test_another_seed_gives_other_crystals(self, hypothetical):
        other = set(sources.read(PrototypesSource(n_crystals=200, seed=1, controls=False)).table.material_ids)
        assert len(other - {crystal.material_id for crystal in hypothetical[:200]}) > 100

    def test_no_crystal_twice(self, result):
        """The same formula and space group only at volumes that differ; a control is not made again."""
        volumes = {}
        for crystal in result.table:
            kind = (crystal.formula, crystal.properties['space_group_number'])
            volume = crystal.volume / crystal.n_atoms
            assert all(abs(other / volume - 1) > 0.015 for other in volumes.get(kind, []))
            volumes.setdefault(kind, []).append(volume)
        control_kinds = Counter(
            (crystal.formula, crystal.properties['space_group_number'])
            for crystal in result.table
            if crystal.material_id.startswith('control-')
        )
        assert all(len(volumes[kind]) == n for kind, n in control_kinds.items())

    def test_usable(self, result):
        for crystal in result.table:
            assert why_unusable(crystal.lattice, crystal.frac_coords) is None

    def test_space_group_is_the_one_said(self, hypothetical):
        for crystal in hypothetical:
            assert _space_group(crystal, 1e-2) == crystal.properties['space_group_number'], crystal.material_id

    def test_id_says_what_it_is(self, hypothetical):
        for crystal in hypothetical:
            _, parent, pearson, number, *elements = crystal.material_id.split('-')
            assert crystal.properties['prototype'] == f'{parent}-{pearson}-{number}'
            assert int(number) == crystal.properties['space_group_number']
            assert set(elements) == set(_symbols(crystal))

    def test_every_family_has_its_share(self, hypothetical):
        counts = Counter(family_of(_symbols(crystal)) for crystal in hypothetical)
        assert set(counts) == set(FAMILIES)
        assert all(100 <= count <= 125 for count in counts.values())

    def test_many_prototypes(self, hypothetical):
        counts = Counter(crystal.properties['prototype'] for crystal in hypothetical)
        assert len(counts) > 100
        assert max(counts.values()) < 50

    def test_elements_are_stable_and_bind(self, result):
        from pymatgen.core import Element

        for symbol in result.table.elements:
            element = Element(symbol)
            assert symbol != 'H'
            assert not element.is_noble_gas
            assert not element.is_radioactive or symbol == 'Bi'

    def test_oxides_and_halides_are_neutral(self, hypothetical):
        from pymatgen.core import Element

        for crystal in hypothetical:
            symbols = _symbols(crystal)
            if family_of(symbols) in ('oxide', 'halide'):
                states = {symbol: Element(symbol).icsd_oxidation_states for symbol in set(symbols)}
                composition = to_pymatgen(crystal).composition
                assert composition.oxi_state_guesses(oxi_states_override=states), crystal.material_id

    def test_atoms_have_room_and_neighbors(self, hypothetical):
        """No bond is far shorter than covalent radii, no atom without a neighbor, no cell denser than diamond."""
        from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

        for crystal in hypothetical:
            assert 5.6 < crystal.volume / crystal.n_atoms < 75, crystal.material_id
            symbols = _symbols(crystal)
            radii = np.array([CovalentRadius.radius[symbol] for symbol in symbols])
            atoms, neighbors, distances = _contacts(crystal)
            relative = np.full(crystal.n_atoms, np.inf)
            np.minimum.at(relative, atoms, distances / (radii[atoms] + radii[neighbors]))
            assert relative.min() > 0.7, crystal.material_id
            assert relative.max() < 1.7, crystal.material_id

    def test_there_can_be_too_few(self, monkeypatch):
        substitution.prototype_library.cache_clear()
        monkeypatch.setattr(substitution, 'MAX_ATOMS', 1)
        try:
            with pytest.raises(SourceError, match=r'no more than 0 crystals .* n_crystals is 10'):
                sources.read(PrototypesSource(n_crystals=10))
        finally:
            substitution.prototype_library.cache_clear()


class TestVolumes:
    @pytest.mark.parametrize(
        ('label', 'symbols', 'volume'),
        [
            ('NaCl-cF8-225', ('Mg', 'O'), 4.211**3 / 8),
            ('NaCl-cF8-225', ('Ti', 'C'), 4.328**3 / 8),
            ('ZnS-cF8-216', ('Ga', 'As'), 5.653**3 / 8),
            ('AlB2-hP3-191', ('Zr', 'B'), 3.169**2 * 3.530 * np.sqrt(3) / 6),
            ('CaF2-cF12-225', ('Ba', 'F'), 6.200**3 / 12),
            ('CsCl-cP2-221', ('Cs', 'I'), 4.568**3 / 2),
            ('MgCu2-cF24-227', ('Ca', 'Al'), 8.04**3 / 24),
        ],
    )
    def test_near_those_of_real_crystals(self, label, symbols, volume):
        """Volumes per atom from lattice constants in the literature."""
        (prototype,) = (prototype for prototype in prototype_library() if prototype.label == label)
        crystal = prototype.crystal(symbols)
        assert crystal.volume / crystal.n_atoms == pytest.approx(volume, rel=0.15)

    def test_from_the_predictors_of_pymatgen(self, hypothetical):
        """The volume is the geometric mean of what pymatgen's two predictors make of the parent's."""
        from pymatgen.core.structure_prediction.volume_predictor import DLSVolumePredictor, RLSVolumePredictor

        prototypes = {prototype.label: prototype for prototype in prototype_library()}
        by_bonds = DLSVolumePredictor(min_scaling=None, max_scaling=None)
        by_atoms = RLSVolumePredictor(check_isostructural=False, radii_type='atomic')
        for crystal in hypothetical[::40]:
            prototype = prototypes[crystal.properties['prototype']]
            parent = to_pymatgen(prototype.crystal(prototype.elements))
            child = to_pymatgen(crystal)
            child.scale_lattice(parent.volume)
            ratio = by_bonds.predict(child) / by_bonds.predict(parent)
            expected = parent.volume * np.sqrt(ratio * by_atoms.predict(child, parent) / parent.volume)
            assert crystal.volume == pytest.approx(expected, rel=1e-6), crystal.material_id

    def test_near_those_of_matbench(self, shared_data):
        """Where a known crystal has one of the prototypes, its volume is foretold to some 10 %."""
        prototypes = {}
        for prototype in prototype_library():
            key = (prototype.space_group_number, tuple(prototype.counts))
            prototypes.setdefault(key, []).append(prototype)
        wanted = {key[1] for key in prototypes}
        content = json.loads(gzip.decompress((shared_data / 'matbench' / 'matbench_log_kvrh.json.gz').read_bytes()))
        errors = []
        for structure, _ in content['data'][:1500]:
            counts = Counter(site['species'][0]['element'] for site in structure['sites'])
            if not counts.keys() <= {*substitution.METALS, *substitution.NONMETALS}:
                continue
            symbols = tuple(sorted(counts, key=substitution._electronegativity))
            if tuple(counts[symbol] for symbol in symbols) not in wanted:
                continue
            lattice = np.array(structure['lattice']['matrix'])
            places = np.array([site['abc'] for site in structure['sites']])
            numbers = [SYMBOLS.index(site['species'][0]['element']) for site in structure['sites']]
            number = spglib.get_symmetry_dataset((lattice, places, numbers), symprec=1e-2).number
            for prototype in prototypes.get((number, tuple(counts[symbol] for symbol in symbols)), []):
                crystal = prototype.crystal(symbols)
                if crystal is not None:
                    errors.append(np.log(crystal.volume / abs(np.linalg.det(lattice))))
        assert len(errors) > 200
        assert np.median(np.abs(errors)) < 0.10
        assert abs(np.median(errors)) < 0.05


class TestControls:
    @pytest.mark.parametrize('control', controls(), ids=lambda control: control.id)
    def test_structure(self, control):
        """Space group, density and shortest bond are those accepted for the crystal."""
        crystal = control.crystal()
        assert _space_group(crystal, 1e-3) == control.space_group_number
        assert float(to_pymatgen(crystal).density) == pytest.approx(control.density, rel=0.02)
        assert _contacts(crystal)[2].min() == pytest.approx(control.shortest_bond, rel=0.02)
        cell = (crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
        assert len(spglib.find_primitive(cell, symprec=1e-3)[2]) == crystal.n_atoms
        assert control.citation

    @pytest.mark.parametrize(
        ('material_id', 'formula', 'n_atoms'),
        [
            ('control-diamond', 'C', 2),
            ('control-c-bn', 'BN', 2),
            ('control-wc', 'WC', 2),
            ('control-tic', 'TiC', 2),
            ('control-b4c', 'B4C', 15),
            ('control-reb2', 'ReB2', 6),
            ('control-nacl', 'NaCl', 2),
            ('control-pb', 'Pb', 1),
        ],
    )
    def test_those_that_everybody_expects(self, result, material_id, formula, n_atoms):
        crystal = result.table.find(material_id)
        assert (crystal.formula, crystal.n_atoms) == (formula, n_atoms)

    def test_classes(self, result):
        classes = dict(zip(result.table.material_ids, result.table.column('control'), strict=True))
        assert classes['control-diamond'] == classes['control-wc'] == 'hard'
        assert classes['control-nacl'] == classes['control-pb'] == 'soft'
        assert classes['control-graphite'] == classes['control-h-bn'] == classes['control-mos2'] == 'layered'
        assert {value for name, value in classes.items() if name.startswith('proto-')} == {None}
        assert {value for name, value in classes.items() if name.startswith('control-')} == {'hard', 'soft', 'layered'}
        assert result.table.find('control-c-bn').properties['name'] == 'cubic boron nitride'

    def test_left_out_on_request(self, result):
        without = sources.read(PrototypesSource(n_crystals=50, controls=False)).table
        assert without.material_ids == result.table.material_ids[len(controls()) : len(controls()) + 50]


class TestOptions:
    @pytest.mark.parametrize(
        'options',
        [
            {'n_crystals': -1},
            {'n_crystals': 1.5},
            {'n_crystals': True},
            {'seed': 'one'},
            {'controls': 'no'},
            {'n_crystals': 0, 'controls': False},
        ],
    )
    def test_without_sense(self, options):
        with pytest.raises(SourceError, match=next(iter(options))):
            PrototypesSource(**options)

    def test_reads_no_file(self, tmp_path):
        with pytest.raises(SourceError, match='reads no files'):
            sources.open_source([tmp_path], 'prototypes')
        assert not PrototypesSource.recognises([tmp_path])

    def test_origin_tells_how_to_make_them_again(self):
        source = PrototypesSource(n_crystals=7, seed=3)
        origin = source.origin()
        assert origin.options == {'n_crystals': 7, 'seed': 3, 'controls': True}
        assert 'Mehl' in origin.citation
        assert 'Straumanis' in origin.citation
        assert 'Straumanis' not in PrototypesSource(controls=False).origin().citation
        assert {entry['name'] for entry in origin.files} >= {'aflow_prototypes.json.gz', 'controls.yaml'}
        assert all(len(entry['sha256']) == 64 for entry in origin.files)
        assert source.n_expected == 7 + len(controls())
