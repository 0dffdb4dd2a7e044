"""Build the PDF, DOCX and scanned example documents from the text in this file.

Run it with an interpreter that has reportlab, python-docx and Pillow:

    python examples/build_documents.py

The text of every built document is in SOURCES below, in a small Markdown-like
form ("#" title, "##" heading, "|" table row, anything else a paragraph).
`sources()` needs the standard library only, so that the checker can read it.
Reruns write the same content.
"""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

DOCUMENTS = Path(__file__).resolve().parent / "documents"
SCAN_PATH = "archive/notice-to-passengers-1958.pdf"

SOURCES: dict[str, str] = {
    "lines/rope-inspection-manual.pdf": """
# Rope inspection manual

## Scope and responsibility

This manual describes how haul ropes, track ropes and carrying ropes of the Cooperative are inspected, shortened, spliced and discarded. It was issued by the technical director, Henrike Solvang, on 14 February 2022 as the fourth edition. The person answerable for all rope work is the splicer Hedda Brunskill. The Ropeway Inspectorate sends its own examiner, Lambert Oyelaran, every third year, most recently in 2021.

## Kinds of inspection

There are four kinds of inspection. The daily glance is made by the machinist while the line starts. The monthly inspection is made by two linesmen at creeping speed. The magnetic test is made by the firm of Castor & Daughter with a coil that is clamped around the rope. The great inspection is made after every unusual event, such as a lightning strike, a derailment or a slip of a grip.

## Monthly inspection

For the monthly inspection the rope passes the two linesmen at no more than 0.5 m/s. One looks, the other holds a rag of cotton wool lightly against the rope; broken wires catch the cotton. After forty minutes the two change places, because eyes tire. Each broken wire is marked with yellow wax and entered by its distance from the splice. The inspection of the Brenna Line takes about three hours and ten minutes, that of the Sundmark Chair an hour and twenty minutes. It is not done in rain, for water hides broken wires.

## Magnetic test intervals

| Rope | First test | Later tests |
|---|---|---|
| Brenna haul rope | after 1 year | every 3 years |
| Kestle track ropes | after 3 years | every 6 years |
| Kestle haul rope | after 1 year | every 2 years |
| Threllgate carrying rope | after 4 years | every 5 years |
| Sundmark haul rope | after 2 years | every 4 years |
| Arvel haul rope | after 1 year | every 3 years |

The test is brought forward by a year when more than ten broken wires have been found since the last one. Castor & Daughter keep the strips for thirty years; copies lie in the rope archive.

## Limits for discarding a rope

A haul rope is discarded when it has lost ten per cent of its metal cross section over a length of six rope diameters, or twenty-five per cent over a length of forty diameters. A track rope may lose no more than eight per cent over its greatest bending length. A rope is also discarded if its diameter has shrunk by more than six per cent, whatever its wires look like. Local damage may be cut out and replaced by a new piece, but no rope may hold more than three splices, and on the Old Kestle Line the haul rope may hold none at all.

## Long splices

A long splice is 1,200 times as long as the rope is thick; the splice of the Brenna haul rope is therefore a little over 55 metres. It is made by at least four people under the lead of somebody with the Splicing endorsement and takes one and a half working days. The six tucks lie evenly apart, and their tails are wrapped in oiled hemp. After the first ten hours of running all tucks are looked at, again after fifty hours, and then monthly. A splice whose tuck has swollen by more than ten per cent over the rope diameter is made anew.

## Shortening

Ropes lengthen with time. The Brenna haul rope is shortened when the tension carriage has less than 1.5 metres of travel left; it lengthened by 2.9 metres in its first year and hardly at all afterwards. For the Arvel Link the travel that must remain is stated in its own line description. A shortening is planned at least three weeks ahead, as the line is closed for two days. It is never done when the temperature is under five degrees, since cold grease keeps the strands from settling.

## Sockets and clamps

The track ropes of the Old Kestle Line end in poured sockets. The metal is an alloy of zinc, poured at 455 degrees. Sockets are poured anew every six years, and the cut-off end of one metre and a half is opened strand by strand to see whether it has rusted within. The first rope behind the socket is watched with particular care, since most wires break there. Bollards, where the rope is wound on oak drums, are checked for cracks every autumn by Hedda Brunskill herself.

## Lubrication

Haul ropes are lubricated twice a year, in the revisions, with grease that must not reach the grips. The Brenna haul rope needs eighteen kilograms, that of the Arvel Link eleven. Track ropes are painted with linseed oil and red lead substitute every second summer by two linesmen on the maintenance carriage. A rope that squeals is too dry; one that drips is too wet. After lubrication the line runs empty for two hours, and the braking test is repeated.

## After lightning

After a lightning strike on a rope the line is emptied, and the great inspection is made before the next day. Burn marks are blue or brown and feel rough. Three neighbouring burnt wires in one strand count as a break of that strand. In June 2019 a strike at tower 12 burned eleven wires of the Brenna haul rope, and the line stood still for six days while a piece of ninety metres was replaced.

## Records

Each rope has a rope book with a number, maker, date of fitting, hours and all findings. Rope books are kept for ten years after the rope has been discarded. Entries are made on the day of the inspection and signed by both inspectors. A disc sawn from every discarded rope goes to the archive, and another to the school. The rope book of the present Brenna haul rope is number 61.
""",
    "huts/hut-warden-handbook.pdf": """
# Handbook for hut wardens

## Welcome

This handbook is for wardens and their deputies. It was compiled by the head of huts, Rosalind Eker, from the notebooks of nine wardens, and this sixth edition is dated 22 March 2023. Where it disagrees with the sheet of a particular hut, the sheet of the hut is right. Wardens meet twice a year: at the Marl Night in January and on the third Monday in October in the Winding House.

## The warden's day

The day begins with the weather. The warden hears the forecast, telephones the market board if there is a telephone, and writes three lines on the slate by the door: weather, paths, dangers. The slate must be ready by 06:00. The till is counted at 14:00, when the house is empty. The hut book is read at 17:00 and compared with the bookings, and whoever is missing at 19:00 is looked for, first by asking other guests and then by radio.

## Hut book

Every guest writes name, home town, number of people, where they came from and where they are going. The hut book is the first thing the rescue team asks for. Full books are sent to the archive, where they are kept for fifty years. Pages may not be torn out, not even for poems of poor quality. Wardens may not show the book to newspapers or to jealous husbands and wives.

## Opening a hut in spring

| Step | When |
|---|---|
| Shovel free the chimney and vents | day 1 |
| Check roof, shutters and lightning rods | day 1 |
| Light stoves, dry for two days | days 1 to 3 |
| Flush pipes and take water samples | day 2 |
| Air blankets, count crockery | day 3 |
| Test fire alarms and radio | day 4 |
| First guests | day 6 at the earliest |

Two people are needed for opening, and the Cooperative sends a helper for five days. If mice have nested in the blankets, the blankets go to the laundry in Quessen, which returns them within eight days.

## Closing a hut in autumn

Closing takes four days. Pipes are drained from the top down and blown through with the hand pump. Shutters are closed on the weather side first. Food that cannot stand frost is carried down. The winter room gets fresh candles, two buckets, an axe, a full log box and a new visitors' book. The main key travels down with the warden, and a second is put into the steel box, whose number is known only to the control room. The last thing the warden does is wind the clock.

## Money

Wardens take money for beds, meals, levies and drinks. Takings are carried down at least every ten days, and no more than 4,000 crowns may lie in a hut overnight. Counterfeit notes are kept in an envelope and reported. A guest who cannot pay signs a slip and has thirty days; of 212 slips in 2022 all but nine were honoured. Tips belong to the helpers and are shared out equally at the end of each month.

## Difficult guests

Most guests are pleasant. A guest who is drunk gets water and no more wine. A guest who threatens others is moved to another room and, in daylight and fine weather, sent down. Nobody may be sent down in the dark. The warden may forbid somebody the hut for up to two years; this has to be confirmed by Rosalind Eker within ten days. Thefts are reported to Constable Mabyn Rusk in Quessen.

## Fire

Fire drill is held on the first evening of each month with all guests, in pyjamas if need be. The hut must be empty within four minutes. There are at least six extinguishers in each hut and a fire blanket in each kitchen. Chimneys are swept three times a year. Candles are forbidden on upper floors. In a fire the warden counts the guests at the flagpole with the hut book in hand, and only then thinks of the building.

## Illness and death

For an illness that frightens the warden, the doctor on duty is called through the control room at any hour. Medicines from the hut cupboard may be given for one day. Painkillers stronger than class two are locked and may only be given when a doctor says so by radio. If somebody dies, the room is closed, nothing is moved, and the warden tells the control room by telephone and not by radio. The warden is relieved on the following day if he or she wishes.

## Animals

Mules have right of way everywhere. Hay for guests' horses costs three crowns a night, where there is any. Bats in lofts are protected and may not be disturbed from May to August. Foxes that beg are not fed. A snake in the house is carried out under a bucket; there are only adders and smooth snakes in the upland, and no adder has bitten a guest since 1984.

## Deputies and days off

A warden has one day off a week and, in season, one free weekend a month. The deputy must have spent at least twenty nights in the hut as a helper. There is a list of seven travelling deputies, who are paid as band D by the day. Requests for a deputy are made two weeks ahead to Rosalind Eker. If no deputy can be found, the hut may be closed for a night; in 2022 this happened four times, three of them at the Whistling Hut.
""",
    "rescue/callout-plan.pdf": """
# Call-out plan for large emergencies

## Purpose

This plan is for emergencies that go beyond a single red alarm: an evacuation with injured people, an avalanche on a line, a hut on fire, or a flood. It was drawn up by Tamsin Overgaard and Barnaby Quist, was practised for the first time on 30 September 2017, and was last revised on 11 January 2023. It does not take the place of the rules of the Red Lantern Team but comes on top of them.

## Who may set it off

The plan is set off with the code word Thunderbell. The word may be spoken by the duty leader, the duty engineer, the general manager Ivo Marrender, or the control room if none of the three can be reached within six minutes. Once it has been spoken, only the head of operations can call it off. It has been used in earnest three times: in 2017, in 2019 and in 2021.

## Head of operations

The head of operations sits in the control room and wears a white armband. Until someone else is named, this is the duty leader of the rescue team. The head of operations speaks with the police, the hospital and the mayor, and nobody else does. A relief takes over after eight hours at the latest. The log is kept by two people, of whom one writes while the other listens.

## First hour

| Minute | Task | Done by |
|---|---|---|
| 0 | stop all lines, speak code word on channel 1 | control room |
| 5 | sound the siren on the Winding House three times | control room |
| 10 | telephone chain A, 24 people | duty clerk |
| 20 | open the collecting room in the market hall | Calla Winterbourne |
| 30 | first situation report by radio | commander on the spot |
| 45 | telephone chain B, 38 people | duty clerk |
| 60 | decide about help from outside | head of operations |

If the telephone does not work, runners from the Junior Crew's parents' list are sent out in pairs.

## Places

The injured are brought to the market hall in Quessen, where there is room for sixty on camp beds. The unhurt go to the school gymnasium. Families wait in the Bobbin Inn, where the chaplain Ambrose Tilling looks after them. Journalists are received in the library by Ivo Marrender at every full hour. The dead are laid in the chapel of Saint Orran. Helicopters land on the sports ground; the goalposts are taken down by the caretaker of the school, which takes nine minutes.

## Sorting the injured

The first doctor on the spot sorts the injured with coloured clips: red for at once, yellow for soon, green for later, black for dead. Sorting takes no longer than half a minute a person. The clip carries a number, which stays with the person to the hospital. The hospital at Quessen can take six red cases and fifteen yellow ones. Beyond that patients are flown to Norrin, which takes twenty-two minutes by air.

## Stores

The plan's own stores are kept in two containers behind the fire station in Tannery Row. They hold 240 blankets, 90 camp beds, four tents, lamps, soup for three hundred and a generator cable of 200 metres. The keys hang in a glass box, and a further set is with the baker Odile Munk, since she is awake when others sleep. Stores are counted on the first of March and the first of September. Soup is exchanged every two years.

## Outside help

Help may be asked of the fire brigade in Norrin, which needs fifty minutes, of the Upland Rifle Company, which can send sixty people within three hours, and of the ropeway at Port Callen for splicers. The Norrin Air Service has two helicopters, and one of them can fly at night. Costs are borne by the Cooperative up to 50,000 crowns and beyond that by the district.

## Informing the public

The first message goes out within forty minutes, even if there is little to say. It is read by radio, put on the market board, and translated by two teachers. Numbers of the dead or injured are given only when the police have confirmed them. The telephone for relatives is 1479 and is answered by eight trained volunteers. Pictures of the injured are never released.

## Practice and review

The plan is practised every other year in autumn. The last full practice, on 24 September 2022, imagined a fire at the Marl Hut with thirty-three guests. The hut was empty after three minutes and fifty seconds, but the market hall was opened eleven minutes late because its lock had been changed. A review is written within six weeks and is read out at the general meeting.
""",
    "community/night-of-lanterns-programme.pdf": """
# Night of Lanterns: programme and rules

## What it is

The Night of Lanterns is the great feast of the Cooperative and the town of Quessen. It takes place each year on the second Saturday in September and remembers the handing over of the huts in 1968. On this night every hut lights its lantern for as long as it likes, and a chain of lights goes up the Brenna Saddle. About 5,200 people came in 2023. The feast is organised by a committee of eleven, led by the choir mistress Isolde Farrow.

## Programme

| Time | What | Where |
|---|---|---|
| 14:00 | opening by the oldest member | market square |
| 14:30 | mule race | Tannery Row |
| 16:00 | rolling of the cheese | Bobbin Street |
| 17:30 | open rehearsal of the rope choir | market hall |
| 19:00 | children's procession with retired dogs | school to market square |
| 20:15 | blessing of the ropes | Brenna drive station |
| 21:00 | lighting of the chain | Brenna Saddle |
| 22:30 | dance with the band Loose Strand | market hall |
| 00:00 | last ride down | Brenna Line |

If it rains the mule race is dropped and the dance begins an hour earlier. If the Brenna Line is stopped by wind, the chain is lit on Chapel Hill instead.

## The chain of lights

The chain consists of 812 lanterns, one for each metre of height of the Brenna Line. The lanterns hang on poles along the path and burn beeswax candles, which last for five hours. Each is carried up by one person, who may inscribe a name on the glass. A lantern costs nine crowns. Orders are taken at the Quessen ticket office until the last day of August. Members of the Red Lantern Team carry the top twenty. The lanterns are gathered again on Sunday morning from 08:00 by the Junior Crew.

## Rolling of the cheese

Sixteen teams of three roll a wooden cheese of thirty kilograms up Bobbin Street over a course of 220 metres. The wheel must not be carried or leave the cobbles. The best time so far, 58.4 seconds, was rolled by the Sund hay farmers in 2014. The prize is a real wheel of Old Brennaker, presented by Bastian Orrel. A team whose cheese runs back into the public pays for a round at the Bobbin Inn.

## Mule race

The mules run without riders. Each is led by two people who may not pull, push or swear. The course is 340 metres long and ends at the old fire station. Clementine from the Lantern Hut won four times running until she was beaten in 2022 by a mule named Turnip, owned by Fabian Orme. Carrots may be shown to the mule but not given before the finish. The vet Leonie Marwood examines all animals at noon.

## Fares and trains

From 18:00 the Brenna Line costs five crowns return for everyone, members included. The Old Kestle Line runs until 22:00 at the usual fare, with rides every ten minutes. The Arvel Link runs until 01:30, and this is the only night when people who are not residents may ride after closing. A late train leaves for Norrin at 00:40. The Sundmark Chair is shut that day from 15:00, as its crew works at Quessen.

## Safety

No more than 1,400 people may be at the Brenna Saddle at one time; they are counted at the gate. When the number is reached, the ride up is stopped until two hundred have come down. Fireworks and paper balloons are forbidden because of the forest. Torches may be carried only by the fire brigade. First aid is in the ticket hall, with a second post at Heron Mire. Lost children are brought to the bench in front of the weather board. The limit for calling off the whole chain is a gust of 50 km/h at the Brenna Saddle at 19:30.

## Food and drink

Stalls pay 45 crowns and may sell only food from the four valleys. Plates and mugs are lent for a deposit of two crowns. The classic dish is lantern soup, made of pumpkin and smoked cheese from a recipe by Maud Dovecot. The brewery at Arvel makes a dark beer for the night; there are 3,000 bottles of it and no more. Nothing is sold in the market square after 01:00.

## Helpers

Three hundred helpers are needed. Each works for four hours and gets a grey scarf, a meal and a ticket for the raffle. Sign-up is with Hanne Osk until 20 August. Staff of the Cooperative who work that night are paid as on one of the great feasts. The clean-up starts on Sunday at 09:30 and is done, by long habit, in silence until the first coffee at 10:30.
""",
    "governance/standing-orders.docx": """
# Standing orders of the general meeting and the board

## The general meeting

The general meeting is the highest body of the Cooperative. It takes place every year on the third Saturday in April in the market hall of Quessen and begins at 13:30. It is called by letter and on the market board at least twenty-eight days ahead. Motions from members have to reach the board fifteen days ahead and must be signed by at least twenty-five members. An extraordinary meeting is called when a tenth of the members or the auditors ask for it, and it has to take place within six weeks.

## Quorum

The general meeting can decide if at least 180 members are present. If fewer have come by 14:15, the meeting is closed and called again within three weeks; the second meeting can decide whatever the number. Members are counted with brass tokens at the door. Each member present may hold the written vote of one other member, never of more.

## Majorities

| Matter | Majority needed |
|---|---|
| Ordinary motions and elections | more than half of the votes |
| Change of the statutes | two thirds |
| Sale of land or buildings | three quarters |
| Closing a line for good | three quarters in two meetings running |
| Giving up the lantern rule | all votes |
| Dissolving the Cooperative | nine tenths |

Abstentions are not counted as votes. If votes are equal, a motion has failed, and in an election the lot decides, drawn by the youngest member present.

## Conduct of the meeting

The chair, at present Ottoline Braskett, leads the meeting. If she is away, the deputy chair, Gerrit Halvard, does so. Speakers have four minutes, and those who bring a motion have eight. The hall clerk turns a sand glass. Nobody may speak more than twice on one matter. The motion to end the debate needs two thirds and may not be brought by somebody who has just spoken. Minutes are taken by the secretary, Nanette Vole, and hung out for thirty days; objections must be raised within this time.

## The board

The board has nine members: two from each valley and one elected by the employees. The term is three years, and nobody may serve for more than four terms. Each year a third of the board stands for election. The board meets on the second Thursday of each month at 18:00 in the Winding House and can decide if six members are present. Board members receive 75 crowns for each meeting and no other pay. Spouses and siblings may not sit on the board at the same time.

## Conflicts of interest

A board member who would gain from a decision says so, leaves the room, and does not vote. The minutes record it. A board member may not sell goods worth more than 500 crowns a year to the Cooperative. Milk is exempt from this, since otherwise no farmer could sit on the board. Doubtful cases are decided by the council of elders.

## General manager and department heads

The general manager is appointed by the board for five years at a time. The appointment may be ended early by seven votes. Department heads are appointed by the general manager with the consent of the board. The technical director alone answers for safety and in this respect takes orders from nobody. If the general manager and the technical director disagree, the board is told within two days.

## Committees

There are four standing committees: huts, lines, cave and people. Each has five members and meets at least four times a year. Committees advise and can spend up to 3,000 crowns a year on studies. The hut committee must include at least one active warden, and the cave committee at least one dairy farmer. Committee papers are open to members in the archive after two years.

## Elections

Candidates put their names forward until 31 March. Each may hang a sheet of paper of one page on the market board. Other advertising is frowned upon. Voting is secret if a single member asks for it. The counting is done by three tellers who belong to different valleys. Ballots are kept for a year in a sealed bucket of the Threllgate Line and then burned in the stove of the Bobbin Inn.

## Changing these orders

These standing orders were adopted on 20 April 2002 and last changed on 15 April 2023. They can be changed by an ordinary motion, save for the rules on majorities, which can only be changed as the statutes can. The oldest rule, that the meeting ends with a song, cannot be changed at all. The song is The Goose Went Up.
""",
    "governance/annual-report-2023.docx": """
# Annual report for the financial year 2022 to 2023

## Foreword by the general manager

The year that ended on 30 April 2023 was the second best since the founding. We carried more people than ever on the Arvel Link, sold more Old Brennaker than we ought to have, and lost too many days to wind at Kestle. No passenger was seriously hurt. I thank the 164 employees and all volunteers. Ivo Marrender, general manager since 2016.

## Passengers and goods

| Line | Passengers or tonnes | Change |
|---|---|---|
| Brenna Line | 412,600 passengers | plus 4.2 per cent |
| Old Kestle Line | 96,300 passengers | minus 6.8 per cent |
| Sundmark Chair | 38,900 passengers | plus 1.1 per cent |
| Arvel Link | 121,700 passengers | plus 9.5 per cent |
| Threllgate Line | 23,400 tonnes | minus 2.3 per cent |

The busiest day of the Brenna Line was 13 August 2022 with 5,318 rides. On the Old Kestle Line forty-one days were lost to wind, revision and a broken window. The fall in tonnes on the cargo line came from the rebuilding of the quarry road.

## Income and expenses

Income was 9.84 million crowns and expenses 9.41 million, so that a surplus of 430,000 crowns remained. Fares brought 58 per cent of the income, huts 19 per cent, the cave and dairy 11 per cent, freight 7 per cent, and electricity and other things 5 per cent. The largest expense was wages, at 5.02 million crowns. The board proposed a dividend of 2.5 per cent, and the general meeting agreed by 604 votes to 71.

## Huts

The staffed huts counted 12,604 overnight stays in 2022. The Lantern Hut was fullest, with ninety-one nights on which every bed was taken. At the Marl Hut the chip boiler was given a new grate for 11,700 crowns. At the Whistling Hut the toilets were emptied, and a third solar battery was flown up. The wardens had 148 complaints, of which sixty were about snoring.

## Cave and dairy

The dairy took in 2.61 million litres of milk. It made 238 tonnes of cheese, of which Brennaker was 171 tonnes. Threll Blue won the silver curd at the show in Norrin in October 2022. In July the cave was too warm for nine days, and milk had to be sold to others at a loss of 38,000 crowns. A study for a cooling shaft was ordered from the engineers Wick & Lorimer.

## Safety

There were thirty-one accidents with lost time among employees in 2022 and four slight injuries among passengers. Lines were evacuated once: on 4 February 2023 the Arvel Link stood still because of a broken coupling, and fifty-two people were brought down in 1 hour and 55 minutes. The Ropeway Inspectorate found eleven faults, all of them put right within the time given. Doctor Amabel Frey praised the new eye test.

## Works and purchases

The largest work was the renewal of the control of the Brenna Line for 286,000 crowns. The electric van Snipe was bought for 41,500 crowns. The roof of the Winding House was covered anew with slate. For the coming year the board plans the second pair of tower saddles at Kestle, at 174,000 crowns, and a lift in the Quessen ticket hall.

## People

On 30 April 2023 there were 164 employees, among them 58 women and nine apprentices. Average length of service was eleven years and four months. Six people retired, among them the machinist Bertrand Loy after thirty-eight years. The staff council and the board agreed on a rise in wages. Sick days fell from 9.6 to 8.1 a head.

## Membership

The number of full members rose by 84. The number of friends fell slightly, which we put down to a misprint in the newspaper. Forty-three members left, fifteen of them by death. The Cooperative remembers in particular Edmund Stallard, chair from 1988 to 1997, who died on 2 March 2023.

## Outlook

In the coming year the Sundmark Chair will be forty years old, and its future has to be debated. We expect higher prices for electricity and a dry summer. The board asks members to think about whether the Old Kestle Line should be open on Wednesdays again. There will be a vote on this at the autumn gathering on 7 October 2023.
""",
    "rescue/kestle-incident-report-2017.docx": """
# Report on the standstill of the Old Kestle Line on 19 August 2017

## Summary

On Saturday 19 August 2017 at 15:42 both cars of the Old Kestle Line stopped between towers and could not be moved. Sixty-one people were in the cars: thirty-four in the Plum and twenty-seven in the Pear, conductors included. All were lowered through the floor hatches. The last passenger reached the ground at 18:21. Three people had slight injuries. The inquiry was led by Lambert Oyelaran of the Ropeway Inspectorate and finished on 8 December 2017.

## Timeline

| Time | Event |
|---|---|
| 15:42 | standstill, both brakes closed |
| 15:44 | first message to passengers |
| 15:58 | attempt with auxiliary drive fails |
| 16:05 | decision to evacuate |
| 16:11 | code word Thunderbell spoken |
| 16:37 | first passenger of the Plum on the ground |
| 17:02 | first passenger of the Pear on the ground |
| 18:21 | last passenger on the ground |
| 19:30 | all passengers in Quessen |

The decision was thus taken twenty-three minutes after the standstill and within the time allowed. The whole evacuation took two hours and sixteen minutes from the decision, one minute longer than the target.

## Cause

The cause was a broken key in the shaft coupling of the drive wheel at Kestle Head. The key, a steel block of 140 millimetres, had a crack that had grown over several years from a tool mark. When it broke, pieces fell into the gear of the auxiliary drive, which shares the shaft, and blocked it. The crack could not be seen without taking the coupling apart, which was last done in 1991.

## What went well

The conductors, Hollis Greave in the Plum and Anneke Tolland in the Pear, stayed calm and had the hatches open before the decision came. The passengers sang. Anneke Tolland lowered a man of 131 kilograms with two slings, which had never been practised. The guide rope was not needed, because the wind was only 18 km/h. The sheepfold under tower 2 proved a good gathering point, and the farmer Josias Reed brought milk.

## What went badly

The loudspeaker in the Pear was broken, and its passengers learned what was happening only by shouting. The winch rope of the Plum was kinked and had to be cleared for eleven minutes. The second evacuation team was caught in the traffic of the market day. The list of passengers' names was written in pencil and got wet. One child was brought down before her father, and the two did not find each other for forty minutes.

## Injuries

A woman sprained an ankle on landing, a boy had rope burns on his hands, and the conductor Hollis Greave strained his back. A passenger with diabetes was given sugar by the carer. All were treated at the hospital in Quessen and sent home on the same evening.

## Recommendations

The report made nine recommendations. Shaft couplings are to be taken apart and tested for cracks every eight years. The auxiliary drive is to have its own shaft. Loudspeakers are to be tested every morning. Winch ropes are to be stored on drums, not in coils. Names are to be written with wax pencil on plastic. An additional evacuation team is to live on the Kestle side of the river. Families are to be lowered one directly after another. Slings for heavy people are to be bought. The market is to leave a lane free.

## What has been done

By May 2018 eight of the nine recommendations had been carried out, at a cost of 67,400 crowns. The separate shaft for the auxiliary drive was refused at first by the Office for Built Heritage, since it would have meant an opening in the old wall. A different solution, with a chain drive inside the machine room, was agreed on in March 2019 and built by the firm of Zander & Holm for 92,000 crowns.

## Reopening

The line reopened on 16 December 2017 after one hundred and nineteen days. Passengers of that afternoon were invited to the first ride, and forty-four of them came. The broken key is shown in a glass case at Kestle Bottom. A plate beneath it carries the words: what you cannot see, take apart.
""",
    SCAN_PATH: """
# NOTICE TO PASSENGERS

Old Kestle Line, 1st July 1958

## Rules for the ride

1. The fare is two crowns up and one crown down.
2. No car shall carry more than 28 persons, the conductor included.
3. Spitting from the windows is punished with a fine of five crowns.
4. Hens and geese ride in baskets on the roof rack only.
5. Smoking pipes is allowed in the Pear but never in the Plum.
6. Passengers shall not rock the car, nor sing above the towers.
7. Milk churns are to be handed in before six in the morning.
8. The last car leaves Kestle Head one hour before sunset.

Complaints may be brought to the line master, Mr. Ezra Collop, at Kestle Bottom on Fridays between four and five in the afternoon.

By order of the board, Agathe Brandlow, chair
""",
}


def sources() -> dict[str, str]:
    """Text of every built document, by its path below examples/documents."""
    return {path: text.strip() + "\n" for path, text in SOURCES.items()}


def blocks(text: str) -> list[tuple[str, list[list[str]]]]:
    """Split source text into (kind, rows) blocks; kind is h1, h2, p or table."""
    out: list[tuple[str, list[list[str]]]] = []
    for line in (part.strip() for part in text.splitlines()):
        if not line:
            continue
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if all(set(cell) <= {"-"} for cell in cells):
                continue
            if out and out[-1][0] == "table":
                out[-1][1].append(cells)
            else:
                out.append(("table", [cells]))
        elif line.startswith("## "):
            out.append(("h2", [[line[3:]]]))
        elif line.startswith("# "):
            out.append(("h1", [[line[2:]]]))
        else:
            out.append(("p", [[line]]))
    return out


def build_pdf(target: Path, text: str) -> None:
    """Write one text PDF with headings, tables and page numbers."""
    from xml.sax.saxutils import escape

    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

    styles = getSampleStyleSheet()
    names = {"h1": "Title", "h2": "Heading2", "p": "BodyText"}
    grid = TableStyle(
        [
            ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
            ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
            ("FONTSIZE", (0, 0), (-1, -1), 9),
        ]
    )
    parts = blocks(text)
    story: list[object] = []
    for kind, rows in parts:
        if kind == "table":
            story += [Spacer(1, 6), Table(rows, style=grid), Spacer(1, 6)]
        else:
            story.append(Paragraph(escape(rows[0][0]), styles[names[kind]]))

    def number(canvas: object, page: object) -> None:
        canvas.setFont("Helvetica", 8)  # type: ignore[attr-defined]
        canvas.drawCentredString(A4[0] / 2, 28, f"{parts[0][1][0][0]} - page {page.page}")  # type: ignore[attr-defined]

    document = SimpleDocTemplate(
        str(target), pagesize=A4, title=parts[0][1][0][0], author="Hallowmere Ropeway and Hut Cooperative", invariant=1
    )
    document.build(story, onFirstPage=number, onLaterPages=number)


def build_docx(target: Path, text: str) -> None:
    """Write one DOCX with heading styles and tables."""
    import datetime

    import docx

    document = docx.Document()
    for kind, rows in blocks(text):
        if kind == "table":
            table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
            for row, cells in zip(table.rows, rows, strict=True):
                for cell, value in zip(row.cells, cells, strict=True):
                    cell.text = value
        elif kind == "p":
            document.add_paragraph(rows[0][0])
        else:
            document.add_heading(rows[0][0], level=0 if kind == "h1" else 1)
    properties = document.core_properties
    properties.author = "Hallowmere Ropeway and Hut Cooperative"
    properties.title = blocks(text)[0][1][0][0]
    properties.created = properties.modified = datetime.datetime(2023, 5, 1)
    raw = io.BytesIO()
    document.save(raw)
    with zipfile.ZipFile(raw) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():  # fixed time stamps keep reruns identical
            new.writestr(zipfile.ZipInfo(name, (2023, 5, 1, 0, 0, 0)), old.read(name), zipfile.ZIP_DEFLATED)


def build_scan(target: Path, text: str) -> None:
    """Render text to a noisy, slightly rotated page image inside a PDF."""
    import textwrap

    from PIL import Image, ImageDraw, ImageFilter, ImageFont
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    size = (1240, 1754)
    page = Image.new("L", size, 238)
    pen = ImageDraw.Draw(page)
    height = 150
    for kind, rows in blocks(text):
        font_size, step, width = {"h1": (54, 100, 40), "h2": (36, 70, 50), "p": (29, 44, 62)}[kind]
        for line in textwrap.wrap(rows[0][0], width):
            pen.text((140, height), line, fill=35, font=ImageFont.load_default(font_size))
            height += step
        height += 16
    page = page.rotate(0.9, fillcolor=238, resample=Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.7))
    noise = Image.frombytes("L", size, random.Random(1958).randbytes(size[0] * size[1]))
    page = Image.blend(page, noise, 0.12)
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=60)
    buffer.seek(0)
    canvas = Canvas(str(target), pagesize=A4, invariant=1)
    canvas.drawImage(ImageReader(buffer), 0, 0, A4[0], A4[1])
    canvas.save()


def main() -> None:
    """Build all documents."""
    for path, text in sources().items():
        target = DOCUMENTS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path == SCAN_PATH:
            build_scan(target, text)
        elif path.endswith(".pdf"):
            build_pdf(target, text)
        else:
            build_docx(target, text)
        print(f"built {path}: {len(text.split())} words")


if __name__ == "__main__":
    main()
