"""First in, first out, and average cost, against numbers computed by hand and against each other."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.portfolio.lots import Lot, LotBook

D = Decimal


def test_both_methods_by_hand():
    book = LotBook()
    book.trade(D(10), 1, D(1000))
    book.trade(D(10), 1, D(1200))
    assert book.trade(D(15), -1, D(1950)) == 15
    assert (book.realised_fifo, book.realised_average) == (D(1950) - D(1600), D(1950) - D(1650))
    assert (book.quantity, book.fifo, book.average) == (5, 600, 550)
    assert (book.closed_fifo, book.closed_average) == (1600, 1650)


def test_a_split_changes_units_and_no_cost():
    book = LotBook()
    book.trade(D(3), 1, D(100))
    book.split(D(4))
    assert (book.quantity, book.fifo, book.average) == (12, 100, 100)
    book.trade(D(12), -1, D(130))
    assert book.realised_fifo == book.realised_average == 30


def test_a_short_sale_gains_when_the_price_falls_and_turns_into_a_purchase():
    book = LotBook()
    book.trade(D(10), -1, D(500))
    assert (book.quantity, book.fifo) == (-10, 500)
    assert book.trade(D(15), 1, D(600)) == 10
    assert book.realised_fifo == book.realised_average == 100
    assert (book.quantity, book.fifo, book.average) == (5, 200, 200)


def test_units_of_unknown_cost_gain_nothing():
    book = LotBook()
    book.receive(D(10), None)
    book.trade(D(10), 1, D(100))
    book.trade(D(15), -1, D(300))
    assert book.realised_fifo == D(300) * 5 / 15 - 50
    assert book.realised_average == D(300) * D("7.5") / 15 - 75
    assert (book.fifo, book.average, book.unknown) == (50, 25, D("2.5"))


def test_a_parcel_carries_its_cost():
    source, target = LotBook(), LotBook()
    source.trade(D(10), 1, D(100))
    source.trade(D(10), 1, D(200))
    target.put(source.take(D(15)))
    assert target.lots.popleft() == Lot(D(10), D(100))
    assert (target.average, source.average, source.fifo, source.quantity) == (225, 75, 100, 5)


trades = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from((1, -1)), st.integers(1, 500)), max_size=40
)


@settings(max_examples=200, deadline=None)
@given(trades)
def test_money_is_conserved(made):
    """What came in less what went out is what was gained, less what is still bound in the position."""
    book, cash = LotBook(), D(0)
    for quantity, side, price in made:
        book.trade(D(quantity), side, D(quantity * price))
        cash -= side * quantity * price
    for gained, bound in ((book.realised_fifo, book.fifo), (book.realised_average, book.average)):
        assert abs(cash - (gained - book.side * bound)) < D("1e-15")
    assert book.held == sum(lot.quantity for lot in book.lots)
    assert book.quantity == sum(side * quantity for quantity, side, _ in made)
