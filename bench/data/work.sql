-- Inserts, indices, joins, groups, text: what an application asks of its database.
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, city INTEGER, age INTEGER);
CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
	INSERT INTO city SELECT i, 'city-' || (i * 7919 % 1000) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
	INSERT INTO person SELECT i, 'name-' || (i * 104729 % 100003), i * 31 % 50 + 1, i * 17 % 90 FROM n;
CREATE INDEX person_name ON person (name);
CREATE INDEX person_city ON person (city, age);
SELECT city.name, count(*), avg(age), max(person.name) FROM person JOIN city ON city.id = person.city
	GROUP BY city.id ORDER BY 2 DESC, 1 LIMIT 10;
SELECT count(*) FROM person WHERE name LIKE '%99%' AND age BETWEEN 20 AND 60;
UPDATE person SET age = age + 1 WHERE city IN (SELECT id FROM city WHERE name < 'city-5');
SELECT sum(age), group_concat(DISTINCT substr(name, 1, 7)) FROM person WHERE id % 97 = 0;
DELETE FROM person WHERE age > 70;
SELECT count(*), total(length(name)) FROM person;
