from datetime import date

import pytest

from stock_llm.market.situation import Position
from stock_llm.portfolio.holdings import Fill, holdings_by_symbol


def fill(day, quantity, price, symbol="ORCA"):
    return Fill(
        ref=f"{symbol}{day}{quantity}",
        symbol=symbol,
        day=date(2025, 1, day),
        quantity=quantity,
        price=price,
    )


def test_average_cost_and_sales():
    held = holdings_by_symbol(
        [fill(2, 10, 100.0), fill(3, 10, 110.0), fill(6, -5, 120.0), fill(8, -15, 90.0)]
    )["ORCA"]
    assert held.before(date(2025, 1, 2)) is None
    assert held.after(date(2025, 1, 2)) == Position(10, 100.0)
    assert held.before(date(2025, 1, 6)) == Position(20, 105.0)
    assert held.after(date(2025, 1, 6)) == Position(15, 105.0)
    assert held.after(date(2025, 1, 31)) is None
    assert [(sale.bought, sale.opened) for sale in held.sales] == [(105.0, date(2025, 1, 2))] * 2


def test_a_new_position_begins_anew():
    held = holdings_by_symbol(
        [fill(2, 10, 100.0), fill(3, -10, 110.0), fill(8, 4, 50.0), fill(9, -4, 60.0)]
    )["ORCA"]
    assert [(sale.bought, sale.opened.day) for sale in held.sales] == [(100.0, 2), (50.0, 8)]


def test_a_purchase_and_a_sale_on_one_day_leave_one_position_for_that_day():
    held = holdings_by_symbol([fill(2, 10, 100.0), fill(2, -4, 101.0)])["ORCA"]
    assert held.days == [date(2025, 1, 2)]
    assert held.after(date(2025, 1, 2)).quantity == pytest.approx(6)


def test_selling_what_is_not_held_is_no_sale_of_a_position():
    held = holdings_by_symbol([fill(2, -3, 100.0), fill(3, 2, 100.0), fill(6, -5, 90.0)])["ORCA"]
    assert len(held.sales) == 1
    assert held.after(date(2025, 1, 6)) is None


def test_symbols_do_not_mix():
    held = holdings_by_symbol([fill(2, 10, 100.0), fill(2, 1, 7.0, "WREN")])
    assert held["WREN"].after(date(2025, 1, 3)) == Position(1, 7.0)
