"""Exports as some years, languages and settings of a broker write them: what each row becomes, by
hand.

A case is a file and the lines that test_cases.py makes of it. What is held in the end is
worked out where rows only make sense together.
"""

import csv
import re
from decimal import Decimal
from pathlib import Path

import pytest
from importers.test_exports import lines_of

from stock_llm.importers import engine
from stock_llm.portfolio import bookkeeping
from stock_llm.portfolio.bookkeeping import Event

FLEX = (
    '<FlexQueryResponse queryName="made up" type="AF"><FlexStatements count="1"><FlexStatement accountId="U0000001" '
    'fromDate="20240101" toDate="20251231" period="LastYear" whenGenerated="20260102;120000">{}</FlexStatement>'
    "</FlexStatements></FlexQueryResponse>"
)
TRADE = (
    '<Trade accountId="U0000001" currency="USD" assetCategory="{asset}" symbol="SAMP" multiplier="1" tradeID="1" '
    'dateTime="{when}" tradeDate="20250617" transactionType="ExchTrade" buySell="BUY" ibCommission="-1" '
    'ibCommissionCurrency="USD" taxes="0" {rest}/>'
)
CASH = (
    '<CashTransaction accountId="{account}" currency="USD" symbol="SAMP" isin="US0000000001" dateTime="20240515" '
    'settleDate="20240515" amount="275" type="Dividends" {rest}/>'
)
ACTION = (
    '<CorporateAction accountId="U0000001" currency="USD" assetCategory="STK" symbol="{symbol}" description="made up" '
    'isin="{isin}" reportDate="20240611" dateTime="20240610;202500" amount="0" proceeds="{proceeds}" value="0" '
    'quantity="{quantity}" type="{type}" transactionID="{number}" actionDescription="made up"/>'
)
STOCK = 'quantity="10" tradePrice="5"'

CASES = {
    "a Verkauf is no Kauf": (
        """
        ID;Type;Time;Symbol;Comment;Amount
        136972494;Kauf Aktien/ETFs;17.02.2021 15:55:23;CBAT.US;OPEN BUY 35 @ 9.04;-264.08
        136970980;Aktien/ETF Verkauf;17.02.2021 15:52:09;TUI.DE;CLOSE BUY 75 @ 4.0150;301.13
        """,
        """
        2 BUY STOCK CBAT.US 35 @ 9.04 = 316.4 fee 0 tax 0 USD 2021-02-17T14:55:23Z
        3 SELL STOCK TUI.DE 75 @ 4.015 = 301.125 fee 0 tax 0 EUR 2021-02-17T14:52:09Z
        """,
    ),
    "crypto is not only bought": (
        """
        datetime;price;shares;amount;tax;fee;type;assettype;identifier;currency;holdingname
        2024-03-04T10:00:00.000Z;60000;0,5;30000;0;1;Buy;Crypto;BTC;EUR;Bitcoin
        2024-03-05T10:00:00.000Z;61000;0,1;6100;0;1;Sell;Crypto;BTC;EUR;Bitcoin
        2024-03-06T10:00:00.000Z;61000;0,2;12200;0;0;TransferOut;Crypto;BTC;EUR;Bitcoin
        """,
        """
        2 BUY CRYPTO BTC 0.5 @ 60000 = 30000 fee 1 tax 0 EUR 2024-03-04T10:00:00Z
        3 SELL CRYPTO BTC 0.1 @ 61000 = 6100 fee 1 tax 0 EUR 2024-03-05T10:00:00Z
        4 TRANSFER CRYPTO BTC -0.2 @ 61000 = - fee 0 tax 0 EUR 2024-03-06T10:00:00Z
        """,
    ),
    "years of two digits, first": (
        """
        "User ID","Time","Account","Operation","Coin","Change","Remark"
        "1","24-07-25 21:30:41","Spot","Deposit","EUR","1000",""
        "1","23-05-06 01:02:03","Spot","Deposit","EUR","10",""
        "1","2022-05-06 01:02:03","Spot","Deposit","EUR","11",""
        """,
        """
        2 DEPOSIT CASH - - @ - = 1000 fee 0 tax 0 EUR 2024-07-25T21:30:41Z
        3 DEPOSIT CASH - - @ - = 10 fee 0 tax 0 EUR 2023-05-06T01:02:03Z
        4 DEPOSIT CASH - - @ - = 11 fee 0 tax 0 EUR 2022-05-06T01:02:03Z
        """,
    ),
    "years of two digits, trades": (
        """
        Time,Pair,Side,Price,Executed,Amount,Fee
        24-07-05 21:30:41,SOLEUR,BUY,100,2SOL,200EUR,0.002SOL
        """,
        """
        2 BUY CRYPTO SOL 2 @ 100 = 200 fee 0 tax 0 EUR 2024-07-05T21:30:41Z
        2 TRANSFER CRYPTO SOL -0.002 @ - = - fee 0 tax 0  2024-07-05T21:30:41Z
        """,
    ),
    "years of two digits, orders": (
        """
        Date(UTC),OrderNo,Pair,Type,Side,Order Price,Order Amount,Time,Executed,Average Price,Trading total,Status
        24-07-05 21:30:41,77,SOLEUR,LIMIT,BUY,100,2SOL,24-07-05 21:30:44,2SOL,100,200EUR,FILLED
        """,
        """
        2 BUY CRYPTO SOL 2 @ 100 = 200 fee 0 tax 0 EUR 2024-07-05T21:30:44Z
        """,
    ),
    "a time with its zone, in summer": (
        FLEX.format(
            f"<Trades>{TRADE.format(asset='STK', when='20250617;103000 EDT', rest=STOCK)}</Trades>"
        ),
        "1 BUY STOCK SAMP 10 @ 5 = 50 fee 1 tax 0 USD 2025-06-17T14:30:00Z",
    ),
    "a time with its zone, in winter": (
        FLEX.format(
            f"<Trades>{TRADE.format(asset='STK', when='2025-01-17;10:30:00 EST', rest=STOCK)}</Trades>"
        ),
        "1 BUY STOCK SAMP 10 @ 5 = 50 fee 1 tax 0 USD 2025-01-17T15:30:00Z",
    ),
    "a time with the zone of another place": (
        FLEX.format(
            f"<Trades>{TRADE.format(asset='STK', when='20250617;163000 CEST', rest=STOCK)}</Trades>"
        ),
        "1 BUY STOCK SAMP 10 @ 5 = 50 fee 1 tax 0 USD 2025-06-17T14:30:00Z",
    ),
    "a time with a zone that nobody knows": (
        FLEX.format(
            f"<Trades>{TRADE.format(asset='STK', when='20250617;163000 XYZT', rest=STOCK)}</Trades>"
        ),
        "! 1 the date cannot be read: '2025-06-17T16:30:00 XYZT'",
    ),
    "times with their zone, CSV": (
        """
        Buy/Sell,DateTime,Quantity,TradePrice,TradeMoney,CurrencyPrimary,IBCommission,IBCommissionCurrency,Symbol,ISIN,AssetClass
        BUY,20250617;103000 EDT,10,5,50,USD,-1,USD,SAMP,US0000000001,STK
        BUY,"2025-01-17, 10:30:00 EST",10,5,50,USD,-1,USD,SAMP,US0000000001,STK
        BUY,20250617;103000,10,5,50,USD,-1,USD,SAMP,US0000000001,STK
        """,
        """
        2 BUY STOCK SAMP 10 @ 5 = 50 fee 1 tax 0 USD 2025-06-17T14:30:00Z
        3 BUY STOCK SAMP 10 @ 5 = 50 fee 1 tax 0 USD 2025-01-17T15:30:00Z
        4 BUY STOCK SAMP 10 @ 5 = 50 fee 1 tax 0 USD 2025-06-17T14:30:00Z
        """,
    ),
    "cash in detail and as a summary, XML": (
        FLEX.format(
            "<CashTransactions>"
            + CASH.format(account="U0000001", rest='transactionID="9" levelOfDetail="DETAIL"')
            + CASH.format(account="-", rest='levelOfDetail="SUMMARY"')
            + "</CashTransactions>"
        ),
        """
        1 DIVIDEND STOCK SAMP - @ - = 275 fee 0 tax 0 USD 2024-05-15
        ~ 2 a summary of the rows above
        """,
    ),
    "cash in detail and as a summary, CSV": (
        """
        ClientAccountID,CurrencyPrimary,Symbol,ISIN,Description,SettleDate,Amount,Type,TransactionID,LevelOfDetail
        U0000001,USD,SAMP,US0000000001,SAMP CASH DIVIDEND,20240515,275,Dividends,9,DETAIL
        -,USD,SAMP,US0000000001,SAMP CASH DIVIDEND,20240515,275,Dividends,,SUMMARY
        """,
        """
        2 DIVIDEND STOCK SAMP - @ - = 275 fee 0 tax 0 USD 2024-05-15
        ~ 3 a summary of the rows above
        """,
    ),
    "a merger for cash": (
        """
        Corporate Actions,Header,Asset Category,Currency,Report Date,Date/Time,Description,Quantity,Proceeds,Value,Realized P/L,Code
        Corporate Actions,Data,Stocks,USD,2024-06-10,"2024-06-07, 20:25:00","TGT(US1111111111) Merged(Acquisition) for USD 50.00 per Share (TGT, TARGET CO, US1111111111)",-100,5000,-5000,1000,
        """,
        "2 SELL STOCK TGT 100 @ 50 = 5000 fee 0 tax 0 USD 2024-06-08T00:25:00Z",
    ),
    "a merger for cash, XML": (
        FLEX.format(
            "<CorporateActions>"
            + ACTION.format(
                symbol="TGT",
                isin="US1111111111",
                proceeds="5000",
                quantity="-100",
                type="TC",
                number="1",
            )
            + "</CorporateActions>"
        ),
        "1 SELL STOCK TGT 100 @ 50 = 5000 fee 0 tax 0 USD 2024-06-11T00:25:00Z",
    ),
    "a fill with milliseconds": (
        """
        Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Result,Total,ID
        Market buy,2020-11-25 14:30:08.451,US0000000001,SAMP,Sample,2,10,GBP,1,,20,EOF604506992
        """,
        "2 BUY STOCK SAMP 2 @ 10 = 20 fee 0 tax 0 GBP 2020-11-25T14:30:08Z",
    ),
    "ticker and name": (
        """
        Type;Ticker;Instrument;Time;Amount;ID;Comment;Product
        Stock purchase;AAPL.US;Apple;2025-04-12 13:01:45;-1690.10;1;OPEN BUY 10 @ 180.50;My Trades
        """,
        "2 BUY STOCK AAPL.US 10 @ 180.5 = 1805 fee 0 tax 0 USD 2025-04-12T11:01:45Z",
    ),
    "a bond, XML": (
        FLEX.format(
            "<Trades>"
            + TRADE.format(
                asset="BOND",
                when="20250617;103000",
                rest='quantity="10000" tradePrice="98.5" proceeds="-9850" netCash="-9855"',
            )
            + "</Trades>"
        ),
        "1 BUY BOND SAMP 10000 @ 98.5 = 9850 fee 1 tax 0 USD 2025-06-17T14:30:00Z",
    ),
    "a bond has a CUSIP": (
        """
        "Date","Action","Symbol","Description","Quantity","Price","Fees & Comm","Amount"
        "05/06/2024","Buy","912828YW8","US TREASURY NOTE 2% DUE","10000","$98.50","","-$9850.00"
        "05/07/2024","Sell","912828YW8","US TREASURY NOTE 2% DUE","5000","$98.60","$1.00","$4929.00"
        "05/08/2024","Buy","ACME","ACME INC","10","$98.50","","-$985.00"
        """,
        """
        2 BUY BOND 912828YW8 10000 @ 98.5 = 9850 fee 0 tax 0 USD 2024-05-06
        3 SELL BOND 912828YW8 5000 @ 98.6 = 4930 fee 1 tax 0 USD 2024-05-07
        4 BUY STOCK ACME 10 @ 98.5 = 985 fee 0 tax 0 USD 2024-05-08
        """,
    ),
    "a bond has a CUSIP, JSON": (
        """
        {"BrokerageTransactions": [{"Date": "05/06/2024", "Action": "Buy", "Symbol": "912828YW8",
        "Description": "US TREASURY NOTE 2% DUE", "Quantity": "10000", "Price": "$98.50", "Fees & Comm": "", "Amount": "-$9850.00"}]}
        """,
        "1 BUY BOND 912828YW8 10000 @ 98.5 = 9850 fee 0 tax 0 USD 2024-05-06",
    ),
    "contracts and coins": (
        """
        [{"id": "1", "activity_type": "FILL", "transaction_time": "2024-05-06T14:30:00Z", "side": "buy",
        "symbol": "AAPL240621C00200000", "qty": "1", "price": "3.5"},
        {"id": "2", "activity_type": "FILL", "transaction_time": "2024-05-06T14:30:00Z", "side": "sell",
        "symbol": "BTC/USD", "qty": "0.1", "price": "60000"},
        {"id": "3", "activity_type": "FILL", "transaction_time": "2024-05-06T14:30:00Z", "side": "buy",
        "symbol": "ACME", "qty": "2", "price": "10"}]
        """,
        """
        1 BUY OPTION AAPL240621C00200000 1 @ 3.5 = 350 fee 0 tax 0 USD 2024-05-06T14:30:00Z
        2 SELL CRYPTO BTC 0.1 @ 60000 = 6000 fee 0 tax 0 USD 2024-05-06T14:30:00Z
        3 BUY STOCK ACME 2 @ 10 = 20 fee 0 tax 0 USD 2024-05-06T14:30:00Z
        """,
    ),
    "orders that are no trades": (
        """
        date,symbol,side,quantity,price,status
        2024-05-06,ACME,BUY,1,10,Filled
        2024-05-07,ACME,BUY,2,10,Cancelled
        2024-05-08,ACME,BUY,3,10,Rejected
        2024-05-09,ACME,BUY,4,10,Open
        """,
        """
        2 BUY STOCK ACME 1 @ 10 = 10 fee 0 tax 0  2024-05-06
        ~ 3 the order was not carried out
        ~ 4 the order was not carried out
        ~ 5 the order is still open: it counts once it is done
        """,
    ),
    "orders that were filled in part": (
        """
        date,symbol,side,quantity,filled_qty,price,order_status
        2024-05-06,ACME,BUY,10,10,10,filled
        2024-05-07,ACME,SELL,5,3,10,canceled
        2024-05-08,ACME,SELL,5,0,10,canceled
        2024-05-09,ACME,SELL,5,0,10,done
        """,
        """
        2 BUY STOCK ACME 10 @ 10 = 100 fee 0 tax 0  2024-05-06
        3 SELL STOCK ACME 3 @ 10 = 30 fee 0 tax 0  2024-05-07
        ~ 4 the order was not carried out
        ~ 5 nothing was filled
        """,
    ),
    "once five thousand": (
        """
        date,symbol,quantity,activityType,unitPrice,currency,fee,comment
        2024-01-01T15:02:36.329Z,$CASH-USD,1,DEPOSIT,5000,USD,0,x
        2024-01-02T15:02:36.329Z,$CASH-USD,700,DEPOSIT,1,USD,0,x
        2024-01-03T15:02:36.329Z,$CASH-USD,1,WITHDRAWAL,40,USD,0,x
        """,
        """
        2 DEPOSIT CASH - - @ - = 5000 fee 0 tax 0 USD 2024-01-01T15:02:36Z
        3 DEPOSIT CASH - - @ - = 700 fee 0 tax 0 USD 2024-01-02T15:02:36Z
        4 WITHDRAWAL CASH - - @ - = 40 fee 0 tax 0 USD 2024-01-03T15:02:36Z
        """,
    ),
    "once five thousand, a plain table": (
        """
        date,symbol,side,quantity,price
        2024-01-01,USD,deposit,1,5000
        """,
        "2 DEPOSIT CASH - - @ - = 5000 fee 0 tax 0 USD 2024-01-01",
    ),
    "what an exchange of currencies costs": (
        """
        Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Total,Currency (Total),ID,Currency conversion fee,Currency (Currency conversion fee)
        Currency conversion,2024-01-02 10:00:00,,,,,,,,100,USD,A1,0.15,GBP
        Currency conversion,2024-01-03 10:00:00,,,,,,,,100,USD,A2,,
        """,
        """
        2 FEE CASH - - @ - = 0.15 fee 0 tax 0 GBP 2024-01-02T10:00:00Z
        ~ 3 one currency for another
        """,
    ),
    "what a position costs over night": (
        """
        "txid","refid","time","type","subtype","aclass","asset","amount","fee","balance"
        "L1","T1","2024-01-02 10:00:00","rollover","","currency","ZEUR","0.0000","0.0500","10.0000"
        """,
        "2 FEE CASH - - @ - = 0.05 fee 0 tax 0 EUR 2024-01-02T10:00:00Z",
    ),
    "a statement in German": (
        """
        Transaktionen,Header,DataDiscriminator,Vermögenswertkategorie,Währung,Symbol,Datum/Zeit,Menge,T.-Kurs,Schlussk.,Erlös,Prov./Gebühr,Basis,Realisierter G&V,MTM-G&V,Code
        Transaktionen,Data,Order,Aktien,USD,FOO,"2024-03-04, 09:31:05",100,2,2,-200,-1,201,0,0,O
        Transaktionen,Data,Order,Aktien- und Indexoptionen,USD,FOO 21JUN24 40 C,"2024-03-05, 15:30:00",-2,1.25,1.2,250,-2.1,0,0,10,O
        Transaktionen,SubTotal,,Aktien,USD,FOO,,100,,,-200,-1,201,0,0,
        Transaktionen,Header,DataDiscriminator,Vermögenswertkategorie,Währung,Symbol,Datum/Zeit,Menge,T.-Kurs,,Erlös,Provisionseink. EUR,,,MTM in EUR,Code
        Transaktionen,Data,Order,Devisen,USD,EUR.USD,"2024-03-04, 09:30:00",-200,1.0855,,217.1,-1.85,,,3.1,
        Kapitalmaßnahmen,Header,Vermögenswertkategorie,Währung,Berichtsdatum,Datum/Zeit,Beschreibung,Menge,Erlös,Wert,Realisierter G&V,Code
        Kapitalmaßnahmen,Data,Aktien,USD,2024-06-11,"2024-06-10, 20:25:00","FOO(US0000000001) Split 2 für 1 (FOO, FOO CORP, US0000000001)",100,0,0,0,
        Einzahlungen & Auszahlungen,Header,Währung,Abwicklungsdatum,Beschreibung,Betrag
        Einzahlungen & Auszahlungen,Data,EUR,2024-03-01,Elektronische Überweisung,1500
        Einzahlungen & Auszahlungen,Data,Gesamt,,,1500
        Dividenden,Header,Währung,Datum,Beschreibung,Betrag
        Dividenden,Data,USD,2024-04-01,FOO(US0000000001) Bardividende USD 0.33 pro Aktie,33
        Dividenden,Data,Gesamt,,,33
        Quellensteuer,Header,Währung,Datum,Beschreibung,Betrag,Code
        Quellensteuer,Data,USD,2024-04-01,FOO(US0000000001) Bardividende - US Steuer,-5,
        Zinsen,Header,Währung,Datum,Beschreibung,Betrag
        Zinsen,Data,USD,2024-04-05,USD Sollzinsen,-0.79
        """,
        """
        2 BUY STOCK FOO 100 @ 2 = 200 fee 1 tax 0 USD 2024-03-04T14:31:05Z
        3 SELL OPTION FOO 21JUN24 40 C 2 @ 1.25 = 250 fee 2.1 tax 0 USD 2024-03-05T20:30:00Z
        6 FEE CASH - - @ - = 1.85 fee 0 tax 0 EUR 2024-03-04T14:30:00Z
        8 SPLIT STOCK FOO 100 @ - = - fee 0 tax 0 USD 2024-06-11T00:25:00Z
        10 DEPOSIT CASH - - @ - = 1500 fee 0 tax 0 EUR 2024-03-01
        13 DIVIDEND STOCK FOO - @ - = 33 fee 0 tax 0 USD 2024-04-01
        16 TAX STOCK FOO - @ - = 5 fee 0 tax 0 USD 2024-04-01
        18 INTEREST CASH - - @ - = -0.79 fee 0 tax 0 USD 2024-04-05
        ~ 4 a total of the table
        ~ 11 a total of the table
        ~ 14 a total of the table
        """,
    ),
    "taxes and yearly fees in sentences": (
        """
        Date,Heure,Date de valeur,Produit,Code ISIN,Description,FX,Mouvements,,Solde,,ID Ordre
        02-01-2024,10:00,02-01-2024,ACME,FR0000000001,Taxe sur les Transactions Financières,,EUR,"-3,00",EUR,"97,00",
        03-01-2024,10:00,03-01-2024,ACME,IT0000000001,Imposta sulle Transazioni Finanziarie,,EUR,"-1,00",EUR,"96,00",
        04-01-2024,10:00,04-01-2024,,,Einrichtung von Handelsmodalitäten 2020 (Euronext Amsterdam - EAM),,EUR,"-2,50",EUR,"93,50",
        05-01-2024,10:00,05-01-2024,ACME,FR0000000001,Frais DEGIRO de courtage et/ou de parties tierces,,EUR,"-2,00",EUR,"91,50",
        """,
        """
        2 TAX STOCK FR0000000001 - @ - = 3 fee 0 tax 0 EUR 2024-01-02T09:00:00Z
        3 TAX STOCK IT0000000001 - @ - = 1 fee 0 tax 0 EUR 2024-01-03T09:00:00Z
        4 FEE CASH - - @ - = 2.5 fee 0 tax 0 EUR 2024-01-04T09:00:00Z
        5 FEE STOCK FR0000000001 - @ - = 2 fee 0 tax 0 EUR 2024-01-05T09:00:00Z
        """,
    ),
    "a split with its ratio": (
        """
        Date,Type,Details,Amount,Units,Realized Equity Change,Realized Equity,Balance,Position ID,Asset type,NWA
        28/08/2020 06:00:00,corp action: Split,AAPL/USD 4:1,0,,0,0,10,1,Stocks,0
        """,
        "2 SPLIT STOCK AAPL - @ - = - fee 0 tax 0 USD 2020-08-28T06:00:00Z ratio 4",
    ),
    "small change for another coin": (
        """
        "User_ID","UTC_Time","Account","Operation","Coin","Change","Remark"
        "1","2023-09-20 18:46:46","Spot","Small Assets Exchange BNB","ETH","-0.0005","ETH to BNB"
        "1","2023-09-20 18:46:46","Spot","Small Assets Exchange BNB","BNB","0.004","ETH to BNB"
        "1","2023-09-20 18:46:46","Spot","Small Assets Exchange BNB","ADA","-2","ADA to BNB"
        "1","2023-09-20 18:46:46","Spot","Small Assets Exchange BNB","BNB","0.002","ADA to BNB"
        "1","2023-09-21 18:46:46","Spot","Binance Convert","ETH","-1",""
        "1","2023-09-21 18:46:46","Spot","Binance Convert","EUR","1500",""
        "1","2023-09-21 18:46:46","Spot","Binance Convert","ADA","-100",""
        "1","2023-09-21 18:46:46","Spot","Binance Convert","USD","25",""
        "1","2023-09-22 18:46:46","Spot","Small Assets Exchange BNB","ETH","-0.0005",""
        "1","2023-09-22 18:46:46","Spot","Small Assets Exchange BNB","ADA","-2",""
        "1","2023-09-22 18:46:46","Spot","Small Assets Exchange BNB","BNB","0.006",""
        """,
        """
        2 SELL CRYPTO ETH 0.0005 @ 8 = 0.004 fee 0 tax 0 BNB 2023-09-20T18:46:46Z
        2 BUY CRYPTO BNB 0.004 @ 0.125 = 0.0005 fee 0 tax 0 ETH 2023-09-20T18:46:46Z
        4 SELL CRYPTO ADA 2 @ 0.001 = 0.002 fee 0 tax 0 BNB 2023-09-20T18:46:46Z
        4 BUY CRYPTO BNB 0.002 @ 1000 = 2 fee 0 tax 0 ADA 2023-09-20T18:46:46Z
        6 SELL CRYPTO ETH 1 @ 1500 = 1500 fee 0 tax 0 EUR 2023-09-21T18:46:46Z
        8 SELL CRYPTO ADA 100 @ 0.25 = 25 fee 0 tax 0 USD 2023-09-21T18:46:46Z
        ! 10 the rows of this trade do not say what was given for what: 2 assets left, 1 came
        ! 11 the rows of this trade do not say what was given for what: 2 assets left, 1 came
        ! 12 the rows of this trade do not say what was given for what: 2 assets left, 1 came
        ~ 3 joined to the trade in row 2
        ~ 5 joined to the trade in row 4
        ~ 7 joined to the trade in row 6
        ~ 9 joined to the trade in row 8
        """,
    ),
    "shares as coins": (
        """
        "txid","ordertxid","pair","time","type","ordertype","price","cost","fee","vol","margin","misc","ledgers"
        "T1","O1","AAPLx/USD","2025-07-02 10:00:00.1","buy","limit","200","400","1","2","0","",""
        "T2","O1","XXBTZEUR","2025-07-02 10:00:00.1","sell","limit","90000","900","1","0.01","0","",""
        """,
        """
        2 BUY CRYPTO AAPLx 2 @ 200 = 400 fee 1 tax 0 USD 2025-07-02T10:00:00Z
        3 SELL CRYPTO BTC 0.01 @ 90000 = 900 fee 1 tax 0 EUR 2025-07-02T10:00:00Z
        """,
    ),
}


def _written(text: str, tmp_path: Path, name: str = "export") -> Path:
    lines = [line.strip() for line in text.strip().splitlines()]
    path = (
        tmp_path
        / f"{name}{'.xml' if lines[0].startswith('<') else '.json' if lines[0][0] in '[{' else '.csv'}"
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("case", CASES)
def test_a_row_becomes_what_was_worked_out_by_hand(case, tmp_path):
    text, expected = CASES[case]
    assert lines_of(_written(text, tmp_path)) == [
        line.strip() for line in expected.strip().splitlines()
    ]


def held(texts: list[str], tmp_path: Path) -> dict[str, Decimal]:
    """Units that are held after all events of some exports, by symbol."""
    events = []
    for number, text in enumerate(texts):
        for entry in engine.read_export(
            _written(text, tmp_path, str(number)), lambda account: account
        ).entries:
            order = (entry.executed_at, entry.kind != "SPLIT", entry.entry_id)
            money = (entry.fee, entry.tax, entry.ratio, entry.currency)
            worth = (entry.quantity, entry.price, entry.amount)
            events.append(
                Event(
                    entry.entry_id,
                    entry.symbol,
                    entry.executed_at.date(),
                    order,
                    entry.kind,
                    entry.asset_class,
                    *worth,
                    *money,
                )
            )
    made = bookkeeping.book_events(sorted(events, key=lambda event: event.order), {})
    return {symbol: position.book.quantity for symbol, position in made.positions.items()}


ACTIVITY = [
    """
    Trades,Header,DataDiscriminator,Asset Category,Currency,Symbol,Date/Time,Quantity,T. Price,C. Price,Proceeds,Comm/Fee,Code
    Trades,Data,Order,Stocks,USD,FOO,"2024-03-04, 09:31:05",100,2,2,-200,-1,O
    """,
    """
    Corporate Actions,Header,Asset Category,Currency,Report Date,Date/Time,Description,Quantity,Proceeds,Value,Realized P/L,Code
    Corporate Actions,Data,Stocks,USD,2024-06-11,"2024-06-10, 20:25:00","FOO(US67066G1040) Split 1 for 10 (FOO, FOO CORP, US67066G1057)",10,0,0,0,
    Corporate Actions,Data,Stocks,USD,2024-06-11,"2024-06-10, 20:25:00","FOO(US67066G1040) Split 1 for 10 (FOO.OLD, FOO CORP, US67066G1040)",-100,0,0,0,
    """,
]
XML_SPLIT = FLEX.format(
    "<CorporateActions>"
    + ACTION.format(
        symbol="FOO", isin="US67066G1057", proceeds="0", quantity="10", type="RS", number="1"
    )
    + ACTION.format(
        symbol="FOO.OLD", isin="US67066G1040", proceeds="0", quantity="-100", type="RS", number="2"
    )
    + "</CorporateActions>"
)
ROBINHOOD = """
    "Activity Date","Process Date","Settle Date","Instrument","Description","Trans Code","Quantity","Price","Amount"
    "1/16/2024","1/16/2024","1/18/2024","FOO","Foo","Buy","100","$1.00","($100.00)"
    "6/10/2024","6/10/2024","6/10/2024","FOO","Foo","SPR","100S","",""
    "6/10/2024","6/10/2024","6/10/2024","FOO","Foo","SPR","5","",""
"""


@pytest.mark.parametrize(
    ("texts", "units"),
    [([ROBINHOOD], 5), (ACTIVITY, 10), ([ACTIVITY[0], XML_SPLIT], 10)],
    ids=["robinhood", "activity", "xml"],
)
def test_a_reverse_split_leaves_the_new_units(texts, units, tmp_path):
    assert held(texts, tmp_path) == {"FOO": units}


def test_a_fill_with_and_without_milliseconds_is_the_same(tmp_path):
    text = CASES["a fill with milliseconds"][0]
    with_them, without = (
        engine.read_export(_written(version, tmp_path), lambda account: account)
        .table["entry_id"]
        .to_pylist()
        for version in (text, text.replace("08.451", "08"))
    )
    assert with_them == without


def test_the_name_of_a_paper_is_not_its_symbol(tmp_path):
    (entry,) = engine.read_export(
        _written(CASES["ticker and name"][0], tmp_path), lambda account: account
    ).entries
    assert (entry.symbol, entry.name) == ("AAPL.US", "Apple")


@pytest.mark.parametrize(
    "name", ["kraken-ledgers", "binance-transactions", "coinbase-pro-account", "investimental"]
)
def test_ledgers_of_exchanges_may_have_decimal_commas(name, tmp_path):
    """As a spreadsheet in German saves them: 0,03 coins are not three hundred million."""
    path = Path(__file__).parents[1] / "exports" / f"{name}.csv"
    german = tmp_path / path.name
    with (
        path.open(encoding="utf-8", newline="") as file,
        german.open("w", encoding="utf-8", newline="") as out,
    ):
        writer = csv.writer(out, delimiter=";")
        for row in csv.reader(file):
            writer.writerow([re.sub(r"^(-?\d+)\.(\d+)$", r"\1,\2", cell) for cell in row])
    different = ["entry_id", "source_file"]
    expected, imported = (
        engine.read_export(file, lambda account: account, "").table.drop_columns(different)
        for file in (path, german)
    )
    assert imported.to_pylist() == expected.to_pylist()
